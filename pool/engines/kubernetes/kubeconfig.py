"""A person's kubeconfig, read into the client's settings: what it says stays secret, and what it runs is ended.

`kubernetes_asyncio` names the entries of the file by all that is in them, and its errors by that: a token would stand
in each. The program that an entry names for logging in is run by it without a bound: cut off, it would run on, one more
at each request. So it gets a mark, by which it is found. There is no state.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import anyio
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import kube_config

from acp.process import WITHHELD, named
from acp.shutdown import StopLimits, end_strays

_MARK = "WEFT_LOGIN"
_LIMITS = StopLimits(eof=0.0, term=0.5, kill=0.5)
_LISTS = ("clusters", "contexts", "users")

Node = kube_config.ConfigNode


async def read_kubeconfig(path: str | None, context: str | None, settings: Configuration) -> str:
    """Read the file, log in as it says, and return the namespace of its context; "": it names none. Changes no file.

    Args:
        path: None: where kubectl looks.

    Raises:
        Exception: of any kind; its words may be told to people.
    """
    path = path or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    merged, mark = kube_config.KubeConfigMerger(path).config, secrets.token_hex(16)
    if merged is None:
        raise ValueError(f"there is no {path}")
    # The program would get all of our environment otherwise.
    more = {_MARK: mark, **dict.fromkeys(named(os.environ, WITHHELD), "")}
    programs = [_given(program, more) for program in _programs(merged)]
    loader = kube_config.KubeConfigLoader(config_dict=merged, active_context=context)
    try:
        await loader.load_and_set(settings)
    except BaseException:
        if programs:
            with anyio.CancelScope(shield=True):
                await end_strays(_MARK, mark, _LIMITS)
        raise
    return str((loader.current_context or {}).get("context", {}).get("namespace") or "")


def _programs(merged: Node) -> Iterator[dict[str, Any]]:
    """Return the programs that log users in; gives each entry a name that says nothing of what is in it."""
    for kind in _LISTS:
        for entry in merged.value[kind]:
            called = entry.value.get("name") if isinstance(entry.value, dict) else None
            entry.name = f"{entry.path}: {called} of the {kind}"
            user = entry.value.get("user") if called is not None else None
            if isinstance(user, dict) and isinstance(user.get("exec"), dict):
                yield user["exec"]


def _given(program: dict[str, Any], more: dict[str, str]) -> dict[str, Any]:
    program["env"] = [*(program.get("env") or ()), *({"name": name, "value": value} for name, value in more.items())]
    return program
