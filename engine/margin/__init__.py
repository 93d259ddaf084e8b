"""What is owed: one module for each margin model, the baseline, stress and backtests."""
