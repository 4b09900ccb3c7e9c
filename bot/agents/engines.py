"""The engines of the settings: which kinds there are, what each can be told, and how one is made of that.

An engine's library may not be installed: it is imported when one of its kind is made, and not to read the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from bot.wording import installing, nearest, told
from pool.engines.bot_run import BotRun
from pool.engines.docker.settings import DockerSettings
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.model import PoolEngine
from pool.engines.ssh.settings import SshSettings


class ExtraMissing(Exception):
    """The library of an engine is not installed; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A kind of engine.

    Attributes:
        settings: what its table in the settings holds beside ``kind``.
        engine: where its class is, as ``module:name``; made with its name, its settings and ``run``.
        extra: of the package, that has its library; "": it needs none.
        contains: it keeps each agent in a container, and so away from the other threads' files.
    """

    settings: type[BaseModel]
    engine: str
    extra: str = ""
    contains: bool = False

    def make(self, name: str, settings: BaseModel, run: BotRun | None = None) -> PoolEngine:
        """Return an engine; nothing is asked of it yet.

        Args:
            run: to which its agents belong; None: one of this process, which nobody follows while it lasts.

        Raises:
            ExtraMissing: its library is not installed.
        """
        module, _, attribute = self.engine.partition(":")
        try:
            # Imported here and not above: settings can be read without any extra.
            made = getattr(import_module(module), attribute)
        except ModuleNotFoundError as exc:
            raise ExtraMissing(f"{exc.name} is not installed: {installing(self.extra)}") from exc
        return cast("PoolEngine", cast("Callable[..., object]", made)(name, settings, run=run))


KINDS: Mapping[str, EngineKind] = {
    "ssh": EngineKind(SshSettings, "pool.engines.ssh.engine:SshEngine"),
    "docker": EngineKind(DockerSettings, "pool.engines.docker.engine:DockerEngine", extra="docker", contains=True),
    "kubernetes": EngineKind(
        KubernetesSettings, "pool.engines.kubernetes.engine:KubernetesEngine", extra="kubernetes", contains=True
    ),
}
"""By the word that stands for ``kind``."""


@dataclass(frozen=True, slots=True)
class EngineProfile:
    name: str
    kind: str
    settings: BaseModel

    def make(self, run: BotRun | None = None) -> PoolEngine:
        """Return the engine itself; see `EngineKind.make`."""
        return KINDS[self.kind].make(self.name, self.settings, run)


def engine_of(name: str, table: Mapping[str, Any]) -> EngineProfile:
    """Return the engine of a table of the settings in which `table_problems` finds nothing."""
    kind = table["kind"]
    return EngineProfile(name, kind, KINDS[kind].settings.model_validate(_without_kind(table)))


def contains(table: Mapping[str, Any]) -> bool:
    """Whether the engine of a table keeps each agent in a container; the table may be wrong, or empty."""
    # As a text: anything may stand there, and it is judged elsewhere.
    kind = KINDS.get(str(table.get("kind")))
    return kind is not None and kind.contains


def table_problems(table: Mapping[str, Any]) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Say what is wrong with an engine's table: the keys that lead to it, and what people read of it."""
    kinds = ", ".join(KINDS)
    kind = table.get("kind")
    if not isinstance(kind, str):
        yield ("kind",), f"is missing: one of {kinds}"
        return
    if kind not in KINDS:
        yield ("kind",), f"there is no kind {kind!r}, only {kinds}"
        return
    settings = KINDS[kind].settings
    try:
        settings.model_validate(_without_kind(table))
    except ValidationError as exc:
        for error in exc.errors():
            if error["type"] == "extra_forbidden":
                # In a nested table there are other names.
                *steps, key = error["loc"]
                near = nearest(str(key), _table_at(settings, steps).model_fields)
                yield error["loc"], "there is no such setting" + (f"; did you mean {near}?" if near else "")
            else:
                yield error["loc"], told(error)


def _table_at(settings: type[BaseModel], steps: Iterable[int | str]) -> type[BaseModel]:
    """Return what the table that these keys lead to can hold."""
    for step in steps:
        # A number leads to one of a list's tables, which all hold the same.
        if (field := settings.model_fields.get(str(step))) is not None:
            settings = next(_tables_in(field.annotation), settings)
    return settings


def _tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the tables that a setting may hold, one for ``Table``, ``Table | None`` and ``list[Table]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)


def _without_kind(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "kind"}


def engines_problems(engines: Mapping[str, EngineProfile]) -> Iterator[tuple[str, str]]:
    """Say which engines can't be made here: their name, and what to do."""
    for engine in engines.values():
        try:
            # Thrown away: making one asks nothing of it, and only its library can be missing.
            engine.make()
        except ExtraMissing as exc:
            yield engine.name, str(exc)
