"""What is so in a place when somebody asks for help there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bot.model import Actor
from bot.reply.sanitise import inline_code
from bot.work.asking import Asking
from bot.work.files.turn_files import TurnFiles
from bot.work.guide.help import Kind, Situation, help_on
from bot.work.permissions.waiting import asked_of
from bot.work.ports import Answer
from bot.work.queue.scheduler import Scheduler
from bot.work.running_turn import Claim
from bot.work.runs import Runs
from bot.work.thread_settings import ThreadSettings
from pool.launcher import THREAD_FIELD

_PATH_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Guide:
    """Answers requests for help.

    Attributes:
        context: how many earlier messages a mention brings along.
    """

    scheduler: Scheduler[Claim]
    runs: Runs
    asking: Asking
    settings: ThreadSettings
    files: TurnFiles
    context: int

    def help(
        self, kind: Kind, place_id: int, guild_id: int | None, by: Actor, *, weft: str, commands: Iterable[str]
    ) -> Answer:
        """Return what ``by`` can do in a thread or channel now.

        Args:
            weft: how Weft is mentioned.
            commands: the names of those that are registered.
        """
        if kind is Kind.CHANNEL:
            known = self.settings.agents
            here = Situation(
                kind,
                place_id,
                weft,
                self.settings.called(place_id),
                known.names if known.chosen else (),
                tuple(known.projects),
                known.channel_projects.get(place_id),
            )
            return help_on(here, commands)
        running = self.runs.in_thread(place_id)
        waits = next((turn for turn in running if turn.waiting_for_people), None)
        asked = asked_of(self.asking.permissions.waiting(), self.asking.questions.waiting(), by)
        here = Situation(
            kind,
            place_id,
            weft,
            self.settings.called(place_id),
            directory=shown_directory(self.files, place_id),
            running=running[0].first.message_id if running else None,
            asked=any(one.place.thread_id == place_id and not one.agreed for one in asked),
            asking=waits is not None,
            waiting=len(self.scheduler.queue(place_id).line),
            mode=self.settings.mode_in(place_id, guild_id),
            context=self.context,
        )
        return help_on(here, commands)


def shown_directory(files: TurnFiles, thread_id: int) -> str:
    """Return where a thread's agent works, as Discord Markdown, below the home directory as people write it; or ""."""
    project = files.thread_settings.project_name(thread_id)
    if project is not None:
        # Its work tree has a long name that says nothing to anybody.
        return f"the project {inline_code(project)}"
    profile = files.thread_settings.profile_of(thread_id)
    if profile.engine is not None:
        # As it is on the other machine: what is kept of it on this one matters to nobody.
        there = profile.workspace.replace(THREAD_FIELD, str(files.thread_settings.home_of(thread_id)))
        return f"{_clipped(there)} on {inline_code(profile.engine)}"
    place = files.place_of(thread_id)
    if place is None:
        return ""
    try:
        shown = f"~/{place.directory.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # it is elsewhere, or there is no home
        shown = str(place.directory)
    return _clipped(shown)


def _clipped(shown: str) -> str:
    # Its end says which one it is.
    return inline_code(shown if len(shown) <= _PATH_LIMIT else f"…{shown[1 - _PATH_LIMIT :]}", _PATH_LIMIT)
