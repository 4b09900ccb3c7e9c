"""The loopback Discord alone: what it prints, that a shell can play with it, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.commands import LIMIT, environment, weft
from tests.repeat import in_soak
from tests.warm import WarmPopen


def call(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    # No proxy of this machine's environment may come between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=LIMIT) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGTERM, *in_soak([signal.SIGINT])])
def test_the_sandbox_says_how_to_reach_it_and_ends_with_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with WarmPopen(["sandbox", "--port", "0"], tmp_path, environment(tmp_path)) as process:
        lines = [process.stdout.readline().decode().rstrip("\n") for _ in range(10)]
        address = re.fullmatch(r"WEFT_DISCORD_API=(http://127\.0\.0\.1:[1-9]\d*)/api/v10", lines[0])
        assert address
        assert re.fullmatch(r"DISCORD_TOKEN=\S+", lines[1])
        assert all(line.startswith("# ") for line in lines[2:])

        api = f"{address[1]}/_sandbox"
        page = re.search(rf"{address[1]}/#(\S+)", lines[4])
        assert page
        assert f"X-Sandbox-Key: {page[1]}'" in lines[5]
        key = {"X-Sandbox-Key": page[1]}
        ids = call(f"{api}/info", **key)
        for name in ("guild", "channel", "owner"):
            assert ids[name] in "\n".join(lines)
        said = call(f"{api}/say", {"text": "hello", "mention": True}, **key)
        shown = call(f"{api}/timeline?channel={ids['channel']}", **key)
        assert [message["id"] for message in shown["messages"]] == [said["id"]]
        assert call(f"{address[1]}/api/v10/gateway")["url"].startswith("ws://127.0.0.1:")

        process.send_signal(number)
        assert (process.wait(LIMIT), process.stderr.read()) == (0, b"")


def test_a_port_that_is_taken_is_one_line_and_78(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = weft(tmp_path, "sandbox", "--port", str(port))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"weft: --port {port}: ")
    assert "in use" in done.stderr
    assert done.stderr.count("\n") == 1
