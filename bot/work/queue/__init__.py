"""Which message becomes which turn, and when: rules that take the time from outside and return decisions (pure)."""
