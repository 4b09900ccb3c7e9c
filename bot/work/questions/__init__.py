"""What agents ask people in words: forms, links, and their answers."""
