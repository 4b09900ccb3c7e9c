"""Whose attention is called: pings, and what waits for whom."""
