"""A bot that does nothing but hold an agent on an engine: to be killed. `matrix.killed_bot` says what it is given."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import anyio
import structlog

from acp.connection import open_connection
from acp.engine import LaunchSpec
from acp.schema import text_block
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn


def named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class Silent:
    def changed(self) -> None:
        pass

    def permission(self, request: Any) -> None:
        request.cancel()

    question = permission


async def hold(what: dict[str, Any]) -> None:
    kind, settings, values = what["recipe"]
    async with named(kind)("held", named(settings)(**values)) as engine:
        spec = LaunchSpec(**{**what["spec"], "argv": tuple(what["spec"]["argv"]), "engine": engine})
        async with open_connection(spec) as connection:
            session = (await connection.open_session(spec.directory, None)).session
            turn = Turn(TurnLimits(), anyio.current_time())
            await run_turn(connection, session, turn, [text_block("begin")], Silent())
            os.write(1, b"running\n")
            await anyio.sleep_forever()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for `matrix.killed_bot`
    anyio.run(hold, json.loads(sys.argv[1]))
