"""What may be spent, what was, and what happens to prompts for which nothing is left."""
