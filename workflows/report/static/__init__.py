"""Script, style and licences that the page carries."""
