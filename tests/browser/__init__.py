"""The page of the loopback Discord in a real Chromium, with the real bot behind it."""
