"""The system-wide mode: several institutions that hold common assets and sell them together."""
