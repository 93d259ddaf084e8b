"""The library of historical stress episodes."""
