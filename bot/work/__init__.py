"""From an inbound message to a finished turn: queue policy, admission, turn service."""
