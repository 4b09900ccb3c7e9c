"""The one paced editor of what stands above threads: their names and, of a forum's posts, their tags.

Discord takes few edits of a channel (5 in 15 s, and 2 names in 10 min), and makes whoever asks for more wait, for
minutes. So nothing here is awaited by a turn: what is wanted is noted, the latest wins, and one task sends it, name and
tags of a thread in one request. The mutable state is what is wanted of each thread, and when each was edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup

from bot.recent import RecentMap
from bot.reply.port import PortError, ThreadGone, Unavailable
from bot.reply.sanitise import one_line
from bot.work.ports import Channels, ThreadHeader
from bot.work.thread_states import State

log = structlog.get_logger(__name__)

SETTLE = 1.0
"""Seconds that a change waits: many states are over in a moment."""
SPACING = 4.0
"""Seconds between two edits of a thread: with four in 15 s no window is ever used up, so that no call has to wait."""
GAP = 0.1
"""Seconds between two edits of any threads: Discord takes 50 requests a second of all kinds, and replies go first."""
RENAMES, RENAME_WINDOW = 2, 610.0
"""So many names in so many seconds; Discord takes 2 in 600 (not documented, and no header announces it)."""
AT_ONCE = 10
AGAIN, TRIES = 5.0, 6
"""Seconds until what Discord did not take is tried again, doubled each time; and how often it is."""
REFUSED_FOR = 3600.0
"""Seconds in which a thread is left alone where Discord forbade an edit."""
MOST_WANTED, MOST_REMEMBERED = 2000, 1000
MOST_TAGS = 5
"""Discord's limit of the tags of a post."""

STATE_TAGS = (State.WORKING, State.NEEDS_YOU, State.DONE, State.FAILED)
"""Whose words may be names of tags; `tags_for` says what stands for one that the forum does not have."""


def tags_for(applied: Sequence[int], choices: Mapping[str, int], state: State) -> tuple[int, ...] | None:
    """Return the tags that a post should have; None: those that it has, ``applied``, in whatever order.

    Args:
        choices: the tags of the forum by their names in lower case. Where it has none for the state, the post has none
            of these.
    """
    ours = {choices[name] for name in STATE_TAGS if name in choices}
    # Somebody has to look at what failed, and most forums have no tag for that alone.
    names = (State.FAILED, State.NEEDS_YOU) if state is State.FAILED else (state,)
    wanted = next((choices[name] for name in names if name in choices), None)
    others = [tag for tag in applied if tag not in ours]
    # The tags of people stay, all of them: a state that finds no room is not shown.
    new = [*others, wanted] if wanted is not None and len(others) < MOST_TAGS else others
    return tuple(new) if set(new) != set(applied) else None


@dataclass(slots=True)
class _Wanted:
    """What a thread is to get.

    Attributes:
        due: not before this time.
        instead_of: the name that Weft gave it; under another one it keeps that.
        name_due: its name not before this time.
    """

    due: float
    name: str | None = None
    instead_of: str = ""
    name_due: float = 0.0
    state: State | None = None
    tries: int = 0

    @property
    def at(self) -> float:
        """When it is due: its tags don't wait for its name."""
        return self.due if self.state is not None else max(self.due, self.name_due)


class ThreadHeaders:
    """Edits names and tags.

    Args:
        tasks: owns the task that does.
    """

    def __init__(self, tasks: TaskGroup, channels: Channels) -> None:
        self._channels = channels
        self._wanted: RecentMap[int, _Wanted] = RecentMap(MOST_WANTED)
        self._under_way: set[int] = set()
        self._edited: RecentMap[int, float] = RecentMap(MOST_REMEMBERED)
        self._renamed: RecentMap[int, tuple[float, ...]] = RecentMap(MOST_REMEMBERED)
        self._refused: RecentMap[int, float] = RecentMap(MOST_REMEMBERED)
        self._changed = anyio.Event()
        tasks.start_soon(self._run, name="thread headers")

    def rename(self, thread_id: int, name: str, *, instead_of: str) -> None:
        """Give a thread that Weft opened another name, unless it has another than ``instead_of`` by then."""
        wanted = self._want(thread_id)
        # One that is still to be given is not the one that it has.
        if wanted.name is None:
            wanted.instead_of = instead_of
        wanted.name = name

    def renames(self, thread_id: int) -> bool:
        """Return whether a thread is still to get a name, or just gets one."""
        wanted = self._wanted.get(thread_id)
        return thread_id in self._under_way or (wanted is not None and wanted.name is not None)

    def show(self, thread_id: int, state: State) -> None:
        """Let a post's tags tell a state, as far as its forum has such tags."""
        self._want(thread_id).state = state

    def forget(self, thread_id: int) -> None:
        """Drop what is wanted of a thread that is gone."""
        self._wanted.pop(thread_id, None)

    def _want(self, thread_id: int) -> _Wanted:
        wanted = self._wanted.get(thread_id)
        if wanted is None:
            wanted = _Wanted(anyio.current_time() + SETTLE)
            self._wanted.put(thread_id, wanted)
        self._wake()
        return wanted

    def _due(self, thread_id: int) -> float:
        wanted, edited = self._wanted[thread_id], self._edited.get(thread_id)
        paced = edited + SPACING if edited is not None else 0.0
        return max(wanted.at, paced, self._refused.get(thread_id, 0.0))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _run(self) -> None:
        async with anyio.create_task_group() as calls:
            while True:
                # The event before the look, with no await in between, or a change would be missed.
                changed, now = self._changed, anyio.current_time()
                free = (thread_id for thread_id in self._wanted if thread_id not in self._under_way)
                first = min(free, key=self._due, default=None)
                if first is None or len(self._under_way) >= AT_ONCE:
                    await changed.wait()
                elif (due := self._due(first)) > now:
                    with anyio.move_on_after(due - now):
                        await changed.wait()
                else:
                    # In a task of its own: a call may have to wait for its limit, and must not hold up other threads.
                    self._under_way.add(first)
                    calls.start_soon(self._edit, first, self._wanted.pop(first), name=f"header of {first}")
                    await anyio.sleep(GAP)

    async def _edit(self, thread_id: int, wanted: _Wanted) -> None:
        try:
            header = await self._channels.header(thread_id)
            # An edit would take it out of the archive, or be refused.
            if header.open:
                await self._change(thread_id, header, wanted)
        except Unavailable as exc:
            self._again(thread_id, wanted, exc)
        except ThreadGone as exc:
            log.info("header.refused", thread=thread_id, error=str(exc))
            self._refused.put(thread_id, anyio.current_time() + REFUSED_FOR)
        except PortError as exc:
            log.warning("header.refused", thread=thread_id, error=str(exc))
        except Exception:
            # The other threads have theirs edited all the same.
            log.exception("header.failed", thread=thread_id)
        finally:
            self._under_way.discard(thread_id)
            self._wake()

    async def _change(self, thread_id: int, header: ThreadHeader, wanted: _Wanted) -> None:
        now = anyio.current_time()
        name = wanted.name if header.own and one_line(header.name) == one_line(wanted.instead_of) else None
        if name is not None:
            recent = tuple(at for at in self._renamed.get(thread_id, ()) if at > now - RENAME_WINDOW)
            if len(recent) >= RENAMES:
                again = _Wanted(now, name, wanted.instead_of, name_due=recent[0] + RENAME_WINDOW)
                self._put_back(thread_id, again)
                name = None
            else:
                # Before the call, whatever comes of it: Discord counts it, too.
                self._renamed.put(thread_id, (*recent, now))
        tags = tags_for(header.tags, header.choices, wanted.state) if wanted.state is not None else None
        if name is None and tags is None:
            return
        self._edited.put(thread_id, now)
        await self._channels.change_header(thread_id, name=name, tags=tags)
        log.info("header.changed", thread=thread_id, renamed=name is not None, state=wanted.state)

    def _again(self, thread_id: int, wanted: _Wanted, why: Unavailable) -> None:
        wanted.tries += 1
        if wanted.tries >= TRIES:
            log.warning("header.given_up", thread=thread_id, error=str(why))
            return
        pause = max(why.retry_after, AGAIN * 2.0 ** (wanted.tries - 1))
        wanted.due = anyio.current_time() + pause
        self._put_back(thread_id, wanted)

    def _put_back(self, thread_id: int, wanted: _Wanted) -> None:
        """Want once more what was not done, as far as nothing newer is wanted by now."""
        newer = self._wanted.get(thread_id)
        if newer is None:
            self._wanted.put(thread_id, wanted)
            return
        if newer.name is None:
            newer.name, newer.instead_of = wanted.name, wanted.instead_of
        newer.name_due = max(newer.name_due, wanted.name_due)
        newer.state = newer.state or wanted.state
        # What Discord did not take does not come sooner for being asked for anew.
        newer.due, newer.tries = max(newer.due, wanted.due), max(newer.tries, wanted.tries)
