"""Reverse stress test: the most plausible moves that break the fund."""
