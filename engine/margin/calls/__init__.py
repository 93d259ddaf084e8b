"""Margin calls: schedules, collateral, thresholds, disputes and default funds."""
