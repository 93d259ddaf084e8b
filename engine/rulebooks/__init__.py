"""Numbers from rules and papers, versioned, with their sources: data, never code."""
