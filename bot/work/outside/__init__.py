"""What a thread looks like to those who are not in it: its name, a post's tags, and boards that list all threads."""
