"""What must survive a restart: which session a thread has, and which prompts were accepted and not finished.

`SessionStore` is the seam; `MemoryStore` forgets everything when the process ends, for the demo and for tests. The
payload of a prompt is opaque here.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol


class Keep(Enum):
    """Stands for a field that is to stay as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """What is remembered of a thread.

    Attributes:
        agent: the name of the agent that made the session.
        session_id: the session to resume; None starts afresh.
        cwd: the directory in which the session was opened.
        previous_session_id: the session before this one, when it was forgotten or unknown to the agent.
    """

    thread_id: int
    agent: str | None = None
    session_id: str | None = None
    cwd: str | None = None
    previous_session_id: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptedPrompt:
    """A message that was accepted as a prompt; ``payload`` is all that is needed to run it after a restart."""

    message_id: int
    thread_id: int
    channel_id: int
    author_id: int
    payload: str


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """A prompt without an outcome; one that was ``started`` may have had side effects: nobody runs it again unasked."""

    prompt: AcceptedPrompt
    started: bool


class SessionStore(Protocol):
    """Keeps threads and prompts. A call that returned has been written; each may raise what its storage raises."""

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        """Remember a prompt; False if its message was accepted before, whatever became of it."""

    async def started(self, message_id: int) -> None:
        """Say that the prompt is about to be sent to the agent."""

    async def finished(self, message_id: int, outcome: str) -> None:
        """Say how the prompt ended; the first outcome stays. A message that was never accepted is left alone."""

    async def open_prompts(self) -> list[OpenPrompt]:
        """Return the accepted prompts that have no outcome, in order of arrival."""

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        """Return what is remembered of a thread."""

    async def bind(
        self,
        thread_id: int,
        *,
        agent: str | Keep | None = KEEP,
        session_id: str | Keep | None = KEEP,
        cwd: str | Keep | None = KEEP,
        previous_session_id: str | Keep | None = KEEP,
        title: str | Keep | None = KEEP,
    ) -> None:
        """Change what is remembered of a thread, in one write; what is not given stays as it is."""


@dataclass(slots=True)
class _Entry:
    prompt: AcceptedPrompt
    started: bool = False


FINISHED_KEPT = 10_000
"""Finished prompts that `MemoryStore` knows again, the latest ones; of each it keeps the id and the outcome."""


@dataclass(slots=True)
class MemoryStore:
    """A `SessionStore` that lives as long as the process."""

    _prompts: dict[int, _Entry] = field(default_factory=dict)
    _finished: OrderedDict[int, str] = field(default_factory=OrderedDict)
    _threads: dict[int, ThreadRecord] = field(default_factory=dict)

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        """Remember a prompt; False if its message was accepted before."""
        if prompt.message_id in self._prompts or prompt.message_id in self._finished:
            return False
        self._prompts[prompt.message_id] = _Entry(prompt)
        return True

    async def started(self, message_id: int) -> None:
        """Say that the prompt is about to be sent to the agent."""
        self._prompts[message_id].started = True

    async def finished(self, message_id: int, outcome: str) -> None:
        """Say how the prompt ended; the first outcome stays. Its payload is of no more use, and is dropped."""
        if self._prompts.pop(message_id, None) is None:
            return
        self._finished[message_id] = outcome
        if len(self._finished) > FINISHED_KEPT:
            self._finished.popitem(last=False)

    async def open_prompts(self) -> list[OpenPrompt]:
        """Return the accepted prompts that have no outcome, in order of arrival."""
        return [OpenPrompt(entry.prompt, entry.started) for _, entry in sorted(self._prompts.items())]

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        """Return what is remembered of a thread."""
        return self._threads.get(thread_id)

    async def bind(
        self,
        thread_id: int,
        *,
        agent: str | Keep | None = KEEP,
        session_id: str | Keep | None = KEEP,
        cwd: str | Keep | None = KEEP,
        previous_session_id: str | Keep | None = KEEP,
        title: str | Keep | None = KEEP,
    ) -> None:
        """Change what is remembered of a thread; what is not given stays as it is."""
        record = self._threads.get(thread_id) or ThreadRecord(thread_id)
        self._threads[thread_id] = dataclasses.replace(
            record,
            agent=record.agent if agent is KEEP else agent,
            session_id=record.session_id if session_id is KEEP else session_id,
            cwd=record.cwd if cwd is KEEP else cwd,
            previous_session_id=record.previous_session_id if previous_session_id is KEEP else previous_session_id,
            title=record.title if title is KEEP else title,
        )
