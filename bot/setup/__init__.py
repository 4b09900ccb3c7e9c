"""``weft init``: asks for what the bot needs, checks each answer at once, writes ``.env`` and ``weft.toml``."""
