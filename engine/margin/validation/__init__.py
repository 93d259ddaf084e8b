"""How a margin model does on history: coverage, procyclicality, replay."""
