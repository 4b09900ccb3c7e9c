"""`weft demo`: the loopback Discord, the bot and an agent on this machine, without any account."""
