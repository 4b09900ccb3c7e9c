"""M1: which server an agent's sessions get, and what a sandbox has to let in for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bot
from bot.agents.model import AgentProfile, Agents, launcher_of
from bot.agents.tool_access import ToolAccess
from tests.bot.agents.test_file import agents as read_agents

ACCESS = ToolAccess(Path("/run/weft/mcp/socket"), {"WEFT_STATE_ID": "abc"})


def test_the_server_is_this_installation_and_carries_the_mark_of_the_run() -> None:
    """P9: agents need not pass on their own environment, and a server that is left has to be found."""
    (server,) = ACCESS.servers(AgentProfile("red", ("red",), "/w"), "token")
    assert (server.name, server.command, server.args) == ("weft", sys.executable, ("-P", "-m", "bot", "mcp"))
    assert server.env == {
        "WEFT_MCP_SOCKET": "/run/weft/mcp/socket",
        "WEFT_MCP_TOKEN": "token",
        "WEFT_STATE_ID": "abc",
    }


def test_a_package_in_the_workspace_does_not_take_the_place_of_the_server(tmp_path: Path) -> None:
    """R5: the server has the token, and starts where the agent works."""
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "__main__.py").write_text("print('taken over')")
    (server,) = ACCESS.servers(AgentProfile("red", ("red",), "/w"), "token")
    done = subprocess.run(
        [server.command, *server.args, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "taken over" in done.stdout) == (0, False)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", True),
        ("mcp = false", False),
        ('wrapper = ["bwrap", "--dev", "/dev"]', False),
        ('wrapper = ["bwrap", "--bind-try", "{mcp_socket}", "{mcp_socket}"]', True),
        ('wrapper = ["systemd-run", "--scope"]\nmcp = true', True),
    ],
)
def test_an_agent_behind_a_wrapper_gets_tools_where_that_lets_them_in(lines: str, expected: bool) -> None:
    found = read_agents(f'[agents.red]\ncommand = "red"\nworkspace = "/w"\n{lines}\n')
    assert bool(ACCESS.servers(found.profiles["red"], "token")) == expected


def test_an_agent_that_sees_other_files_has_a_command_of_its_own() -> None:
    found = read_agents('[agents.red]\ncommand = "red"\nworkspace = "/w"\nmcp_command = ["/opt/weft", "mcp"]\n')
    (server,) = ACCESS.servers(found.profiles["red"], "token")
    assert (server.command, server.args) == ("/opt/weft", ("mcp",))


def test_wrappers_can_name_the_socket_and_the_installation(tmp_path: Path) -> None:
    wrapper = ("wrap", "{mcp_socket}", "{weft}", "{weft_code}", "{weft_python}", "{workspace}")
    agents = Agents({"red": AgentProfile("red", ("red",), str(tmp_path), wrapper=wrapper)}, "red")
    launcher = launcher_of(agents, {}, {}, lambda _: "red", places=ACCESS.places())
    code = str(Path(bot.__file__).resolve().parent)
    places = ("/run/weft/mcp", sys.prefix, code, sys.base_prefix)
    assert launcher.spec(1).argv == ("wrap", *places, str(tmp_path), "red")
    assert Path(code, "mcp").is_dir(), "and not what it lies in, where a .env may be"
