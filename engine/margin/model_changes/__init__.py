"""Announced changes of margin models and what they do to the book."""
