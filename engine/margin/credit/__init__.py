"""Credit default swaps: spread moves, jump to default and their company (`credit.md`)."""
