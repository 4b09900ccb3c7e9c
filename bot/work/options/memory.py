"""What is known of a thread's options while no session tells: what was last offered, and what people chose.

In memory for the latest threads. Over a restart, what people chose and what was chosen last is kept with the thread;
the lists, which are the same for all sessions of an agent, once for each agent of a server. The mutable state is the
offers of the latest threads, and what was kept of offers; the rest is `bot.work.thread_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from acp.session_options import SessionOptions, as_json, from_json
from bot.model import ThreadPlace
from bot.recent import RecentMap
from bot.work.options.words import Options, without_secrets
from bot.work.thread_settings import ThreadSettings

_THREAD, _SERVER = "options", "offers"
_MOST_THREADS, _MOST_OFFERS = 200, 50
_MOST_KEPT = 64 * 1024
"""Bytes of what is kept of an agent's offer: all that is kept is read into memory at the start."""
_FEW = 200
_SHOWN = 100
"""Characters of a name and of a description: a list in Discord shows no more."""


class OptionMemory:
    """Offers and choices, by thread."""

    def __init__(self, settings: ThreadSettings, redact: Callable[[str], str]) -> None:
        self._settings = settings
        self._redact = redact
        self._offered: RecentMap[int, tuple[str, Options]] = RecentMap(_MOST_THREADS)
        self._kept: RecentMap[tuple[int, str], Options] = RecentMap(_MOST_OFFERS)

    # --- what is offered ---------------------------------------------------------------------------------------------

    def note(self, place: ThreadPlace, options: SessionOptions, *, fresh: bool = False) -> None:
        """Remember what a session offers; ``fresh``: it was made now, and so begins as all new ones do."""
        thread_id, agent = place.thread_id, self._settings.agent_of(place.thread_id)
        # Lists that other threads have as well are held once: they are most of what is held.
        known = {option.id: option.values for option in self._offer(thread_id, place.guild_id)}
        clean = without_secrets(options.all, self._redact, _SHOWN)
        shared = tuple(replace(one, values=known[one.id]) if known.get(one.id) == one.values else one for one in clean)
        self._offered.put(thread_id, (agent, shared))
        if not shared:
            return
        # A direct message is in no server: then its own place has the list.
        server = place.guild_id or thread_id
        seen = {option.id: option.current for option in options.all}
        kept = self._thread(thread_id)
        if (kept.get("seen"), kept.get("server"), kept.get("agent")) != (seen, server, agent):
            self._keep(thread_id, seen=seen, server=server)
        starts = options.initial if fresh else self.starts(thread_id, place.guild_id)
        offer = tuple(replace(option, current=starts.get(option.id, "")) for option in shared)
        if self._kept.get((server, agent)) != offer:
            self._kept.put((server, agent), offer)
            offers = self._settings.kept(server, _SERVER)
            known = offers if isinstance(offers, dict) else {}
            # Agents that the settings no longer have are dropped: the rest is as bounded as they are.
            others = {name: one for name, one in known.items() if name in self._settings.agents and name != agent}
            self._settings.keep(server, {_SERVER: {**others, agent: _bounded(offer)}})

    def offered(self, thread_id: int, guild_id: int | None = None) -> Options | None:
        """Return what the thread's session last offered, with what is chosen now; None: nobody knows.

        Of a thread without a session that is what its agent offers in other threads of the server.
        """
        agent, options = self._offered.get(thread_id, ("", ()))
        # A thread may have another agent since.
        if agent == self._settings.agent_of(thread_id):
            return options
        offer = self._offer(thread_id, guild_id)
        if not offer:
            return None
        known = {**_texts(self._own(thread_id).get("seen")), **self.chosen(thread_id)}
        return tuple(replace(option, current=known.get(option.id, option.current)) for option in offer)

    def starts(self, thread_id: int, guild_id: int | None = None) -> Mapping[str, str]:
        """Return with which values new sessions of the thread's agent begin, as far as that was seen."""
        return {option.id: option.current for option in self._offer(thread_id, guild_id) if option.current}

    def _offer(self, thread_id: int, guild_id: int | None) -> Options:
        kept, agent = self._own(thread_id).get("server"), self._settings.agent_of(thread_id)
        server = guild_id or (kept if type(kept) is int else thread_id)
        if (server, agent) not in self._kept:
            offers = self._settings.kept(server, _SERVER)
            # Read once: a picker asks at each letter that somebody types.
            self._kept.put((server, agent), from_json(offers.get(agent) if isinstance(offers, dict) else None))
        return self._kept[server, agent]

    # --- what people chose -------------------------------------------------------------------------------------------

    def chosen(self, thread_id: int) -> dict[str, str]:
        """Return what people chose for the thread's agent, by option."""
        return _texts(self._own(thread_id).get("chosen"))

    def choose(self, thread_id: int, option_id: str, value: str | None) -> None:
        """Keep what somebody chose; None: no choice holds any more."""
        chosen = {**self.chosen(thread_id), option_id: value}
        self._keep(thread_id, chosen={key: one for key, one in chosen.items() if one is not None})

    def choose_alone(self, thread_id: int, chosen: Mapping[str, str]) -> None:
        """Let these choices hold for a thread, and no others."""
        self._keep(thread_id, chosen=dict(chosen))

    def forget(self, thread_id: int) -> None:
        """Drop what is in memory for a thread that is gone."""
        self._offered.pop(thread_id, None)

    # --- what is kept ------------------------------------------------------------------------------------------------

    def _thread(self, thread_id: int) -> dict[str, Any]:
        kept = self._settings.kept(thread_id, _THREAD)
        return kept if isinstance(kept, dict) else {}

    def _own(self, thread_id: int) -> dict[str, Any]:
        kept = self._thread(thread_id)
        # Ids and values are those of one agent; another one's may be alike and mean something else.
        return kept if kept.get("agent") == self._settings.agent_of(thread_id) else {}

    def _keep(self, thread_id: int, **values: Any) -> None:
        own = {**self._own(thread_id), **values, "agent": self._settings.agent_of(thread_id)}
        self._settings.keep(thread_id, {_THREAD: own})


def _texts(raw: Any) -> dict[str, str]:
    """Return the texts of a JSON object: what an older or newer version wrote may be anything."""
    return {key: value for key, value in raw.items() if isinstance(value, str)} if isinstance(raw, dict) else {}


def _bounded(offer: Options) -> list[Any]:
    """Return an offer as it is kept, without descriptions and later values if it is too large with them."""
    return next((data for data in _smaller(offer) if len(orjson.dumps(data)) <= _MOST_KEPT), [])


def _smaller(offer: Options) -> Iterator[list[Any]]:
    yield as_json(offer)
    bare = [
        replace(one, description="", values=tuple(replace(value, description="") for value in one.values))
        for one in offer
    ]
    yield as_json(bare)
    yield as_json(replace(one, values=one.values[:_FEW]) for one in bare)
