"""Margin add-ons: what is charged on top of initial margin, formula by formula, and applied."""
