"""What outlives a client: the next one goes on with it.

The mutable state is that of its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bot.chat.book import ThreadBook
from bot.chat.breaker import Breaker
from bot.chat.catchup import CatchUp
from bot.chat.errands import Errands
from bot.chat.inbound import BotRuns, OncePer, Taken, Wordings
from bot.chat.logins import Logins
from bot.chat.port import DiscordChat
from bot.chat.watermarks import Watermarks
from bot.work.observer import Observer

REFUSAL_PERIOD = 3600.0  # seconds
BOT_RUN_LIMIT = 5  # prompts by bots in a row in one thread


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives a client.

    Attributes:
        detours: how many messages of each place stand in the line of ``lookups``.
        on_ready, on_lost: called at every READY, and when a connection has ended or could not be made.
    """

    chat: DiscordChat
    lookups: Errands
    answers: Errands
    on_ready: Callable[[], None]
    marks: Watermarks
    catch_up: CatchUp
    breaker: Breaker
    logins: Logins
    observer: Observer = field(default_factory=Observer)
    book: ThreadBook = field(default_factory=ThreadBook)
    refusals: OncePer = field(default_factory=lambda: OncePer(REFUSAL_PERIOD))
    bot_runs: BotRuns = field(default_factory=lambda: BotRuns(BOT_RUN_LIMIT))
    taken: Taken = field(default_factory=Taken)
    withdrawn: Taken = field(default_factory=Taken)
    wordings: Wordings = field(default_factory=Wordings)
    detours: Counter[int] = field(default_factory=Counter)
    on_lost: Callable[[], None] = lambda: None
