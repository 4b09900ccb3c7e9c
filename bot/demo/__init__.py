"""`weft demo`: the loopback Discord, the bot and an agent in one terminal, without any account."""
