"""Compiled loops over arrays. Each has a plain NumPy twin that is its oracle."""
