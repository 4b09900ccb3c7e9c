"""Logging in to agents, and out (K4)."""
