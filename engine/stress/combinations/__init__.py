"""Which managers strain liquidity most together."""
