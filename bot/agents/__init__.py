"""The agents by name: the settings file, what has to be there for each, and how each is started."""
