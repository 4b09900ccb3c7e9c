"""The command line, with a signal that makes the loop hang: SIGUSR1 is answered by a sleep in the loop's own thread."""

from __future__ import annotations

import signal
import time

from bot.cli import main


def hang_for_ever(_number: int, _frame: object) -> None:
    time.sleep(1e6)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, hang_for_ever)
    main()
