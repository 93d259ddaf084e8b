"""Typed tools over the engine, floor two: check a request, call the engine, summarise."""
