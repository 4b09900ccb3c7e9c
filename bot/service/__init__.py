"""Weft as a service of systemd: the unit, and how it gets to its place."""
