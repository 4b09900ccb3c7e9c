"""The limits of the work (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from acp.turn_deadlines import TurnLimits
from bot.model import Lane, Verbosity
from bot.reply.pacing import Pacing
from bot.work.queue.rules import Rules


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bounds on files that people send.

    Attributes:
        most: how many of one message are passed on.
        size: bytes of each.
        fetch_timeout: seconds for all files of a prompt.
        at_once: how many are fetched at the same time.
    """

    most: int = 10
    size: int = 25 * 1024 * 1024
    fetch_timeout: float = 60.0
    at_once: int = 3


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """The limits of the work; times in seconds.

    Attributes:
        rules: how a thread's messages become turns (Q2 to Q4, Q9).
        long_as_file: long answers end as a summary and a file (V5).
        verbosity: how much of a turn is shown where nobody has chosen (V1).
        lanes: turns that run at once over all threads, lane by lane (Q6).
        user_messages, user_window: how many messages one person may send in so many seconds; 0: any number.
        reactions: whether messages show their progress by reactions.
        permission_timeout: how long a permission card waits for a person (D6).
        approvers: roles of which each member may decide what an agent asks (C1).
        stop_grace: how long turns may go on when the bot stops (R1).
        stop_bound: how long they then get to end, once they are cancelled.
        flush_bound: how long last messages and edits get after that (R1).
        files: bounds on the files of messages (F4).
        context: earlier messages of a conversation that a prompt brings along; 0: none (F9).
        lookup: how long Discord has for what a prompt refers to.
        transcript_days: for how long it is kept what was said and done in turns; 0: not at all (S3).
        welcome: whether people are told once who answers, and how to stop it.
    """

    turn: TurnLimits
    pacing: Pacing
    long_as_file: bool = False
    verbosity: Verbosity = Verbosity.NORMAL
    rules: Rules = field(default_factory=lambda: Rules(debounce=0.0))
    lanes: Mapping[Lane, int] = field(default_factory=lambda: {Lane.MAIN: 8, Lane.BACKGROUND: 2})
    user_messages: int = 0
    user_window: float = 60.0
    reactions: bool = True
    permission_timeout: float = 600.0
    approvers: tuple[int, ...] = ()
    stop_grace: float = 0.0
    stop_bound: float = 15.0
    flush_bound: float = 5.0
    files: FileLimits = field(default_factory=FileLimits)
    context: int = 20
    lookup: float = 5.0
    transcript_days: int = 30
    welcome: bool = False
