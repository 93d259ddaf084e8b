"""Replays of episodes: what the system would have said, day by day, and what then happened."""
