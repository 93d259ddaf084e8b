"""Generated stress scenarios, their plausibility and their cost to a fund."""
