"""Files on their way to an agent and from it."""
