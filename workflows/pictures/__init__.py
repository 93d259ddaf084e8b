"""Static pictures of results for documents: SVG, the same bytes for the same figures."""
