"""Thread id to live session: spawns, guards, suspends and resumes agent processes. Imports ``acp`` only."""
