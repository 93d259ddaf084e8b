"""The top floor: plans, run folders, reports and every entry point, among them the command line."""
