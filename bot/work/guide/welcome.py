"""Tells each person once who answers, where it works and how to stop it: in the first thread that they open.

It is one small line, posted when their turn was admitted, beside the start of its agent: nothing waits for it. That
somebody had it is kept under their id, where what is settled for threads is kept under theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.model import Lane
from bot.reply.port import Body
from bot.work.editors import Editors
from bot.work.files.turn_files import TurnFiles
from bot.work.guide.situation import shown_directory
from bot.work.running_turn import RunningTurn
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener

_KEY = "welcomed"


@dataclass(eq=False)
class Welcome(TurnListener):
    """Welcomes people.

    Attributes:
        enabled: whether it does; a setting.
    """

    editors: Editors
    settings: ThreadSettings
    files: TurnFiles
    enabled: bool

    def started(self, running: RunningTurn) -> None:
        inbound = running.first
        # Not into a conversation of others, and no bot.
        own = inbound.opens_thread or inbound.guild_id is None
        if not self.enabled or not own or inbound.lane is not Lane.MAIN:
            return
        if self.settings.kept(inbound.author.id, _KEY):
            return
        # Kept first: of two threads that begin in the same moment one has it, and a kill costs it rather than
        # repeating it.
        self.settings.keep(inbound.author.id, {_KEY: True})
        directory = shown_directory(self.files, running.thread_id)
        who = self.settings.called(running.thread_id)
        place = f" in {directory}" if directory else ""
        text = f"-# You are talking to {who}{place}. Send `stop` to stop it, `/help` to see what else you can do."
        self.editors.of(running.thread_id).say(Body(text))
