"""Schedules: prompts that come again and again in a thread."""
