"""What the small API server keeps of a cluster, and what is read of requests and settings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

Json = dict[str, Any]
NAMESPACE = "weft"


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
        self.status, self.headers = status, headers or {}


@dataclass
class Node:
    """A node; ``lost``: it is silent, and so is what runs on it."""

    name: str
    room: int = 100
    lost: bool = False
    back: anyio.Event = field(default_factory=anyio.Event)


@dataclass
class Pod:
    """A pod, with its process once that runs."""

    body: Json
    process: anyio.abc.Process | None = None
    attached: bool = False
    grace: float = 30.0
    ended: anyio.Event = field(default_factory=anyio.Event)
    deleted: anyio.Event = field(default_factory=anyio.Event)

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


def chosen(selector: str, body: Json) -> bool:
    labels = body["metadata"].get("labels", {})
    for one in filter(None, selector.split(",")):
        key, operator, value = re.fullmatch("([^!=]+)(!=|=)(.*)", one).groups()  # type: ignore[union-attr]
        if (labels.get(key) == value) is not (operator == "="):
            return False
    return True


def avoided_by(body: Json) -> set[str]:
    affinity = body["spec"].get("affinity", {}).get("nodeAffinity", {})
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    return {value for one in preferred for wish in one["preference"]["matchFields"] for value in wish["values"]}


def kubeconfig(port: int, path: Path) -> str:
    """Write how to reach the server, as kubectl has it."""
    named = {"name": "test"}
    content = {
        "clusters": [{**named, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{**named, "user": {"token": "a-token"}}],
        "contexts": [{**named, "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(content))
    return str(path)
