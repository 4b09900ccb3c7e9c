"""``weft state``: moves what the bot keeps from one place to another."""
