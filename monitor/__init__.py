"""The streaming program beside the simulation: events, ladder and audit, over the engine alone."""
