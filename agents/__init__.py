"""Personas and the guard on their figures, floor three: they reach the engine through tools."""
