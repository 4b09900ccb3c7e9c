"""``python -P -m bot.demo.bot_process``: the demo's bot in its own process, led over two pipes.

It ends in order with the end of its input, so also when the process that serves the page is gone.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Take the two pipes away from everything that is imported or started here, and run the bot on them."""
    # What is printed by accident must not come between the lines, and no child may hold the pipes open.
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    gc.disable()  # most of the start is imports, of which nothing is garbage: a tenth of it
    from bot.demo.bot_life import run

    gc.enable()
    sys.exit(run(requests, answers))


if __name__ == "__main__":
    main()
