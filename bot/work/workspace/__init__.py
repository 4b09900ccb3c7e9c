"""The directory in which an agent works, and what has changed in it."""
