"""A process that writes prompts and is killed for it; run as ``python -m tests.pool.storage_child PATH``.

Imports once, then forks a writer for each line on stdin: it answers with one line of the ids that the writer was told
were accepted and finished, once the writer was killed in the middle of its work.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path

import anyio

from pool.storage.durable import SessionStore, open_store
from pool.store import AcceptedPrompt
from tests.pool.samples import decision

TASKS = 4


async def write_prompts(store: SessionStore, first: int, out: int) -> None:
    for message_id in count(first, TASKS):
        await store.accept(AcceptedPrompt(message_id, 1, 2, 3, "x" * 300))
        os.write(out, b"a%d\n" % message_id)
        if message_id % 3 == 0:
            await store.finished(message_id, "answered")
            os.write(out, b"f%d\n" % message_id)
        if message_id % 5 == 0:
            # Handed in at once, and shown once it is written.
            await store.decided(decision(prompt_id=message_id)).value()
            os.write(out, b"d%d\n" % message_id)


async def write(path: Path, first: int, out: int) -> None:
    """Accept and finish prompts, and decide, for ever; say so after each, on the descriptor."""
    async with open_store(path) as store, anyio.create_task_group() as tasks:
        for number in range(TASKS):
            tasks.start_soon(write_prompts, store, first + number, out)


def read_on(descriptor: int) -> str:
    with os.fdopen(descriptor) as said:
        return said.read()


def killed_writer(path: Path, first: int, delay: float) -> list[str]:
    """Return what a writer said until it was killed, some seconds after its first word."""
    reader, out = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reader)
        anyio.run(write, path, first, out)
    os.close(out)
    start = os.read(reader, 1).decode()
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return (start + read_on(reader)).split()


def main() -> None:
    """Answer each line, a random seed and the first message id, with the words of a killed writer."""
    path = Path(sys.argv[1])
    for line in sys.stdin:
        seed, first = map(int, line.split())
        delay = random.Random(seed).uniform(0.005, 0.040)
        sys.stdout.write(json.dumps(killed_writer(path, first, delay)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
