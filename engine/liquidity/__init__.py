"""Cash: how long it lasts and how large a credit line must be."""
