"""What the first process of a container has to do besides its work, where no init stands before it.

It takes in processes whose parents have ended (agents leave some), passes signals on, and is the one that whatever
restarts the container looks at. Weft brings this along, as any other init would be started with the bot's environment
and show it, the token included, to every process of the same user. Nothing is imported that the bot needs: the process
stays small.
"""

from __future__ import annotations

import os
import signal
import sys
import time

SHORTEST = 120.0
"""Seconds from start to end if nobody asked for the end: containers are started anew at once and without a limit, each
start is a login, and Discord resets the token after 1000 of them a day."""

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WAITED_FOR = (*_PASSED_ON, signal.SIGCHLD)
_KERNEL = 128
"""`si_code` of what a terminal sends: the whole group gets that, the bot included; source: sigaction(2)."""


def part_from_init(shortest: float = 0.0) -> None:
    """Return in a child of this process if it is the first one, which then only does what an init does.

    To be called before the first thread and after `deny_process_inspection`, which the child inherits.

    Args:
        shortest: seconds from start to end, unless somebody asks for the end.
    """
    if os.getpid() != 1:
        return
    began = time.monotonic()
    # Before the fork: the kernel drops what the first process neither handles nor blocks.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        return
    code, asked = _attend(child)
    if not asked:
        _linger(code, began + shortest)
    os._exit(code)


def _attend(child: int) -> tuple[int, bool]:
    """Return the child's exit code, as a shell has it, and whether its end was asked for."""
    asked = False
    while True:
        told = signal.sigwaitinfo(_WAITED_FOR)
        if told.si_signo == signal.SIGCHLD:
            code = _take_in(child)
            if code is not None:
                return code, asked
        else:
            # A reload asks for no end.
            asked = asked or told.si_signo != signal.SIGHUP
            if told.si_code != _KERNEL:
                os.kill(child, told.si_signo)


def _take_in(child: int) -> int | None:
    """Take in everybody who has ended; return the child's exit code if it is among them."""
    code = None
    while True:
        try:
            # All of them, as several ends may come as one signal.
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            # Not returned at once: others may have ended with it, and nobody else takes them in.
            code = ended if ended >= 0 else 128 - ended


def _linger(code: int, until: float) -> None:
    """Wait, so that the next start is not too early; a signal that asks for the end ends this, too."""
    if (left := until - time.monotonic()) <= 0:
        return
    sys.stderr.write(
        f"weft: ended with exit code {code}; the container stays for {left:.0f} s, as each start may be a\n"
    )
    sys.stderr.write("      login and Discord allows 1000 a day. Stop it now if you are here to fix something.\n")
    sys.stderr.flush()
    while (left := until - time.monotonic()) > 0:
        told = signal.sigtimedwait(_WAITED_FOR, left)
        if told is not None and told.si_signo in (signal.SIGTERM, signal.SIGINT):
            return
        # Still the first process: what the bot has left goes on ending.
        _take_in(0)
