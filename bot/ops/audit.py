"""``weft audit``: what was decided about what agents asked, out of the state, while the bot runs or not (C5)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from bot.config import ConfigError, load_settings
from bot.files import user_name
from bot.ops.doctor.state import in_use
from bot.ops.instance import DATABASE
from bot.preflight import NO_DRIVER, database_of
from bot.reply.sanitise import clip
from pool.storage.decisions import Decisions
from pool.storage.model import StateTooNew, StateTooOld, StorageFault
from pool.storage.reading import read_decisions
from pool.store import Decision

_SPAN = re.compile(r"([0-9]{1,6})(m|h|d|w)")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MOST = 1_000_000
_WHAT = 100
_LOOK_CLOSER = "`weft doctor` looks closer at it"
_HEADINGS = ("TIME", "OUTCOME", "BY", "ASKED BY", "THREAD", "WHAT")
_IDS = ("guild_id", "thread_id", "prompt_id", "asker_id", "person_id")


def since_of(text: str, now: float) -> float:
    """Return the time (seconds since the epoch) that ``7d``, ``12h``, ``30m``, ``4w`` or a date stands for.

    Raises:
        ValueError: it is none of these; the message says what to write.
    """
    if span := _SPAN.fullmatch(text.strip()):
        # Not before the epoch: no date in a message says a time that is thousands of years back.
        return max(0.0, now - int(span[1]) * _SECONDS[span[2]])
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as exc:
        raise ValueError(f"{text!r} is not a time: write 30m, 12h, 7d, 4w, or a date such as 2026-11-20") from exc


def run_audit(env_file: Path, since: str, thread_id: int | None, *, as_json: bool) -> int:
    """Print the decisions, the oldest first; return 0.

    Raises:
        ConfigError: the state can't be read.
        click.BadParameter: there is no such time.
    """
    try:
        start = since_of(since, time.time())
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--since") from exc
    settings = load_settings(env_file)
    question = Decisions(_MOST, thread_id=thread_id, since=start)
    url = database_of(settings)
    # Read from the newest on, so that the bound leaves out the oldest.
    found = (
        _read(settings.state_dir, question, settings.called("WEFT_STATE_DIR"))
        if url is None
        else _read_there(url, question, settings.called("WEFT_DATABASE_URL"))
    )[::-1]
    if as_json:
        lines = [json.dumps(_as_json(one)) for one in found]
    elif found:
        lines = list(table([_row(one) for one in found]))
    else:
        where = f" in thread {thread_id}" if thread_id is not None else ""
        # With the time as it was understood: `7d` may be written where another was meant.
        lines = [f"No decisions{where} since {_local(start)}."]
    # With one call: of many lines, a pager that is left half-way breaks only one.
    click.echo("".join(f"{line}\n" for line in lines), nl=False)
    return 0


def _read(state_dir: Path, question: Decisions, called: str) -> list[Decision]:
    path = state_dir / DATABASE
    try:
        # In the `try`: where a parent can't be entered, already this question raises.
        if not path.exists():
            raise ConfigError(f"{called}: there is no {path}: name the state directory of the bot (--env-file)")
        with _faults_told(str(path)):
            return read_decisions(path, question, in_use=in_use(state_dir) is not None)
    except PermissionError as exc:
        raise ConfigError(f"{path} can't be read by {user_name()}: run this as the user that the bot runs as") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: {exc}: {_LOOK_CLOSER}") from exc


def _read_there(url: str, question: Decisions, called: str) -> list[Decision]:
    try:
        from pool.storage.postgres_reading import read_decisions_there
    except ImportError as exc:
        raise ConfigError(f"{called}: {NO_DRIVER}") from exc
    with _faults_told(called):
        return read_decisions_there(url, question)


@contextmanager
def _faults_told(place: str) -> Iterator[None]:
    try:
        yield
    except StateTooNew as exc:
        raise ConfigError(f"{place}: {exc}: use the version that wrote it") from exc
    except StateTooOld as exc:
        raise ConfigError(f"{place}: {exc}: start this version of the bot once") from exc
    except StorageFault as exc:
        raise ConfigError(f"{place}: {exc}: {_LOOK_CLOSER}") from exc


def _as_json(decision: Decision) -> dict[str, object]:
    told: dict[str, object] = asdict(decision)
    # Ids as text: many readers of JSON have no numbers as large as these.
    told |= {name: None if told[name] is None else str(told[name]) for name in _IDS}
    return told | {"at": datetime.fromtimestamp(decision.at, UTC).isoformat(timespec="milliseconds")}


def _row(one: Decision) -> tuple[str, ...]:
    # Of a rule that was added or taken back, the rule itself is what matters.
    what = clip((one.rule or one.what) if one.kind == "rule" else one.what, _WHAT)
    return _local(one.at), one.outcome, by_whom(one), one.asker_name, str(one.thread_id), f"{one.kind}: {what}"


def by_whom(decision: Decision) -> str:
    """Return in a few words who or what decided."""
    if decision.decided_by in ("rule", "mode"):
        return f"{decision.decided_by} {decision.rule}" if decision.rule else decision.decided_by
    if decision.decided_by == "agent":
        return f"agent for {decision.asker_name}" + (f" ({decision.reason})" if decision.reason else "")
    if decision.decided_by == "timeout":
        return "nobody in time"
    why = f" ({decision.reason})" if decision.reason else ""
    return f"{decision.person_name or '-'}{why}"


def _local(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table, its headings first; the last column is as wide as it gets."""
    every = [_HEADINGS, *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(_HEADINGS) - 1)]
    for row in every:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]])


def _printable(cell: str) -> str:
    # What agents and people wrote steers no terminal, also where an older version kept it as it came.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cell)
