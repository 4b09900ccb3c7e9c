"""The thread editors and their owner tasks: one for each thread that has something to show, none for the others.

The mutable state is the map of editors. An editor is forgotten only when it has nothing left to deliver, so a thread
never has two.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from anyio.abc import TaskGroup

from bot.reply.editor import ThreadEditor
from bot.reply.pacing import Pacing
from bot.reply.port import ThreadPort
from bot.work.queue.scheduler import Scheduler

log = structlog.get_logger(__name__)


class Editors:
    """Makes and forgets the editors of threads.

    Args:
        tasks: the task group that owns the editors' tasks.
        scheduler: knows in which threads something is still to be done.
        on_gone: called with the thread and the reason when a thread can no longer be written to.
        as_shown: makes of a text what is posted of it: without the secrets.
        long_as_file: long answers end as a summary and a file (V5).
    """

    def __init__(
        self,
        tasks: TaskGroup,
        port: Callable[[int], ThreadPort],
        pacing: Pacing,
        nonces: Callable[[], str],
        scheduler: Scheduler[Any],
        on_gone: Callable[[int, str], None],
        as_shown: Callable[[str], str] = str,
        long_as_file: bool = False,
    ) -> None:
        self._tasks = tasks
        self._port = port
        self._pacing = pacing
        self._nonces = nonces
        self._scheduler = scheduler
        self._on_gone = on_gone
        self._as_shown = as_shown
        self._long_as_file = long_as_file
        self._editors: dict[int, ThreadEditor] = {}

    def of(self, thread_id: int) -> ThreadEditor:
        """Return the thread's editor; made on first use."""
        editor = self._editors.get(thread_id)
        if editor is None:
            editor = ThreadEditor(
                # It finds the current client at each call: an editor outlives the connection to Discord.
                self._port(thread_id),
                self._pacing,
                nonces=self._nonces,
                on_gone=lambda reason: self._on_gone(thread_id, reason),
                # Its last request may end after whoever posted has let go of it.
                on_idle=lambda: self.let_go(thread_id),
                as_shown=self._as_shown,
                long_as_file=self._long_as_file,
            )
            self._editors[thread_id] = editor
            self._tasks.start_soon(self._own, thread_id, editor, name=f"editor {thread_id}")
        return editor

    def let_go(self, thread_id: int) -> None:
        """Forget the thread's editor, unless something waits or runs there or is still to be delivered."""
        if self._scheduler.queue(thread_id).idle:
            self.forget_idle(thread_id)

    def forget_idle(self, thread_id: int) -> None:
        """Forget the thread's editor if it has nothing left to deliver."""
        editor = self._editors.get(thread_id)
        if editor is not None and editor.idle:
            # Out of the map before it is closed: who asks for the editor now gets a new one, never a closed one.
            del self._editors[thread_id]
            editor.close()

    def close(self) -> None:
        """Let every editor deliver what it has, and end."""
        for editor in self._editors.values():
            editor.close()

    async def _own(self, thread_id: int, editor: ThreadEditor) -> None:
        try:
            await editor.run()
        except Exception:
            # The task group is everybody's: a fault in one thread must not end the work of the others.
            log.exception("editor.failed", thread=thread_id)
        finally:
            # By identity: the thread may have a successor by now.
            if self._editors.get(thread_id) is editor:
                del self._editors[thread_id]


def nonce_source(seed: int) -> Callable[[], str]:
    """Return a source of nonces that differ over runs (by ``seed``) and within one; at most 25 characters each."""
    numbers: Iterator[int] = itertools.count(1)
    # The end of it, which differs between two runs; Discord takes at most 25 characters.
    prefix = f"{seed % 10**12:012x}"[-12:]
    return lambda: f"{prefix}-{next(numbers):x}"
