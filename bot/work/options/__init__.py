"""What people choose for the sessions of their threads: models, modes and other options of agents."""
