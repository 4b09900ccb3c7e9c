"""A person's kubeconfig: what it says is told to nobody, and the program that it runs is ended."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import Configuration

from acp.shutdown import carriers
from pool.engines.kubernetes import kubeconfig
from pool.engines.kubernetes.kubeconfig import read_kubeconfig

pytestmark = pytest.mark.asyncio

SECRET = "a-token-that-nobody-may-see"


def written(directory: Path, user: dict[str, Any], **context: str) -> str:
    said = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "me", **context}}],
        "users": [{"name": "me", **user}],
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(said))  # which is YAML as well
    return str(path)


def plugin(directory: Path, body: str) -> dict[str, Any]:
    program = directory / "plugin"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return {"user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}}}


@pytest.mark.parametrize(
    "user",
    [
        {"token": SECRET},
        {"user": {"token": SECRET, "exec": {"apiVersion": "v1"}}},
        {"user": {"exec": {"apiVersion": "v1", "command": "x", "env": [{"name": SECRET}]}}},
        {"user": {"exec": {"command": "x", "env": [{"name": "TOKEN", "value": SECRET}]}}},
    ],
    ids=["misplaced", "no command", "no value", "no version"],
)
async def test_what_is_wrong_with_it_is_told_without_what_is_in_it(tmp_path: Path, user: dict[str, Any]) -> None:
    """R5: the words are shown in Discord, in the log and by the doctor."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  the library has errors of all kinds
        await read_kubeconfig(written(tmp_path, user), None, Configuration())
    assert str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """P14"""
    with pytest.raises(ValueError, match="there is no "):
        await read_kubeconfig(str(tmp_path / "nowhere"), None, Configuration())


async def test_a_program_logs_in_and_sees_nothing_of_the_bots_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: neither the token of Discord nor the password of the database."""
    monkeypatch.setenv("WEFT_DATABASE_URL", SECRET)
    monkeypatch.setenv("DISCORD_TOKEN", SECRET)
    status = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}'
    file = written(tmp_path, plugin(tmp_path, f"env >{tmp_path}/env\necho '{status}'"), namespace="agents")
    settings = Configuration()
    assert await read_kubeconfig(file, None, settings) == "agents"
    assert "t" in str(settings.api_key)
    assert SECRET not in await anyio.Path(tmp_path / "env").read_text()


async def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P9: it is tried again at each request."""
    monkeypatch.setattr(secrets, "token_hex", lambda _size: SECRET)
    file = written(tmp_path, plugin(tmp_path, f"touch {tmp_path}/runs\nsleep 600"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_kubeconfig, file, None, Configuration())
        with anyio.fail_after(30):
            while not await anyio.Path(tmp_path / "runs").exists():  # noqa: ASYNC110  it tells nobody
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert not carriers(SECRET, kubeconfig._MARK)
