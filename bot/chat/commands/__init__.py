"""The slash commands: each module one subject, `tree` registers them."""
