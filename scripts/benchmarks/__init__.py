"""Measurements of the bot; docs/performance.md says what and how."""
