"""What may stand in the settings of an engine of kind docker, and what becomes of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bot.agents.engines import engine_of, table_problems
from pool.engines.docker.engine import DockerEngine
from pool.engines.docker.settings import (
    SOCKET,
    DockerSettings,
    container_environment,
    volume_source,
    without_credentials,
)


def test_only_the_image_has_to_be_said() -> None:
    """P14"""
    settings = DockerSettings(image="agent:1")
    assert (settings.url, settings.pull, settings.places, settings.read_only) == (SOCKET, "missing", None, False)
    assert not settings.tls
    assert not settings.unguarded


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": ""}, "at least 1 character"),
        ({"url": "docker-host:2375"}, "is not an address such as"),
        ({"url": "ftp://host"}, "is not an address such as"),
        ({"url": "unix://docker.sock"}, "is not an address such as"),
        ({"url": "tcp://me:word@host:2376"}, "not by a password in the url"),
        ({"url": "tcp://host:port"}, "Port could not be cast"),
        ({"url": "tcp://host:2376", "tls_cert": "c.pem"}, "go together"),
        ({"tls_ca": "ca.pem"}, "does not speak TLS"),
        ({"memory": "4 GB"}, 'is not a size such as "512M"'),
        ({"memory": "1M"}, "greater than or equal to"),
        ({"places": 0}, "greater than or equal to"),
        ({"volumes": ["/work"]}, "is not a volume such as"),
        ({"volumes": ["work:relative"]}, "is not a volume such as"),
        ({"volumes": ["work:/work:rw"]}, "is not a volume such as"),
        ({"volumes": ["../work:/work"]}, "is not a volume such as"),
        ({"home": "home"}, "should match pattern"),
        ({"privileged": True}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused_in_words(values: dict[str, Any], words: str) -> None:
    """P14"""
    with pytest.raises(ValidationError, match=words):
        DockerSettings(**{"image": "agent:1", **values})


@pytest.mark.parametrize(
    ("values", "url", "tls", "unguarded"),
    [
        ({"url": "/run/podman/podman.sock"}, "unix:///run/podman/podman.sock", False, False),
        ({"url": "tcp://host:2375"}, "tcp://host:2375", False, True),
        ({"url": "https://host"}, "https://host", True, True),
        ({"url": "tcp://host", "tls_ca": "a", "tls_cert": "b", "tls_key": "c"}, "tcp://host", True, False),
    ],
)
def test_an_address_says_whether_it_is_guarded(values: dict[str, Any], url: str, tls: bool, unguarded: bool) -> None:
    """P14"""
    settings = DockerSettings(image="agent:1", **values)
    assert (settings.url, settings.tls, settings.unguarded) == (url, tls, unguarded)


def test_the_page_has_each_setting() -> None:
    """P14"""
    page = (Path(__file__).parents[2] / "docs" / "engine-docker.md").read_text()
    table = page.partition("| key | what | default |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert named == set(DockerSettings.model_fields)


def test_the_pages_engine_can_be_made() -> None:
    """P14"""
    page = (Path(__file__).parents[2] / "docs" / "engine-docker.md").read_text()
    (table,) = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])["engines"].values()
    assert list(table_problems(table)) == []
    assert isinstance(engine_of("box", table).make(), DockerEngine)
    problems = dict(table_problems({**table, "volumes": ["work"], "imagee": "x", "user": 1000}))
    assert problems["imagee",] == "there is no such setting; did you mean image?"
    assert problems["user",] == "1000 is not text: put it in quotes"
    assert "is not a volume such as" in problems["volumes",]


def test_a_volume_of_a_thread_has_a_name_that_the_daemon_takes() -> None:
    """P14"""
    assert volume_source("weft-{agent}-{thread_id}", "12", "my agent/2") == "weft-my-agent-2-12"
    assert volume_source("weft-{thread_id}", "", "x") == "weft-shared"


def test_an_agent_gets_what_is_set_for_it_and_no_mark_of_this_machine() -> None:
    """R5, P14"""
    env = {"PATH": "/opt/agent/bin", "KEY": "k", "WEFT_STATE": "s", "WEFT_AGENT": "a"}
    kept = {"PATH": "/opt/agent/bin", "KEY": "k"}
    assert container_environment(DockerSettings(image="x"), env) == kept
    assert container_environment(DockerSettings(image="x", home="/home/a"), env) == {"HOME": "/home/a", **kept}
    assert container_environment(DockerSettings(image="x", home="/home/a"), {"HOME": "/set"}) == {"HOME": "/set"}


def test_a_registrys_words_lose_their_credentials() -> None:
    """R5, P14"""
    words = 'Get "https://me:pw12345@reg.example/v2/?token=abc123&x=1": unauthorized: Bearer eyJhbGciOiJI rejected'
    clean = without_credentials(words)
    assert clean == 'Get "https://reg.example/v2/?token=…&x=1": unauthorized: Bearer … rejected'
