"""Files for other systems: messages of margin calls, and a run as a workbook."""
