"""Stress: the library of scenarios, their generation, reverse stress tests and early warning."""
