"""Scan-based risk arrays: margin from the worst of a fixed grid of price and volatility moves."""
