"""Closed-form values, greeks, full revaluation on scenarios, and sensitivities."""
