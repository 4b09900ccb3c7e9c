"""What agents ask leave for: rules, cards, decisions, and who may do what."""
