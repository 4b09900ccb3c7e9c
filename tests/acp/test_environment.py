"""What of the bot's environment an agent may see."""

from __future__ import annotations

import pytest

from acp.environment import agent_environment, named


@pytest.mark.parametrize(
    "name",
    [
        *("HOME", "PATH", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR", "USER", "SHELL", "XDG_STATE_HOME", "SSL_CERT_FILE"),
        *("NODE_EXTRA_CA_CERTS", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
    ],
)
def test_what_programs_need_to_run_is_let_through(name: str) -> None:
    """R5."""
    assert agent_environment({name: "x"}, ()) == {name: "x"}


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "HOMER", "WEFT_AGENT", "LD_PRELOAD"])
def test_everything_else_stays_with_the_bot(name: str) -> None:
    """R5."""
    assert agent_environment({name: "x"}, ()) == {}


def test_names_from_the_settings_are_let_through() -> None:
    """R5."""
    environ = {"API_KEY": "1", "TOOL_A": "2", "TOOL_B": "3", "TOO": "4"}
    assert agent_environment(environ, ["API_KEY", "TOOL_*"]) == {"API_KEY": "1", "TOOL_A": "2", "TOOL_B": "3"}
    assert named(environ, iter(["API_KEY", "TOOL_*"])) == {"API_KEY": "1", "TOOL_A": "2", "TOOL_B": "3"}


@pytest.mark.parametrize("name", ["DISCORD_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"])
@pytest.mark.parametrize("extra", ["itself", "*"])
def test_the_token_and_the_supervisor_are_withheld_even_when_asked_for(name: str, extra: str) -> None:
    """R5."""
    assert agent_environment({name: "x"}, [name if extra == "itself" else extra]) == {}
