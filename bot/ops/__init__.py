"""What operators need: checks, health, service integration."""
