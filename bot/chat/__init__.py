"""The only place that knows discord.py: events in, messages and buttons out."""
