"""Frozen models every floor shares: the book, agreements, market, results, failures, money."""
