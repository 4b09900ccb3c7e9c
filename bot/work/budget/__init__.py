"""What may be spent, what was, and what becomes of prompts for which nothing is left."""
