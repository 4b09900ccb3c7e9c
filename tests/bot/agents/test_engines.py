"""Engines in ``weft.toml``: what their tables say, what is wrong in them, and how their agents are started."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bot.agents import engines
from bot.agents.engines import KINDS, EngineKind, engines_problems
from bot.agents.file import AgentsFile, AgentsFileError
from bot.agents.model import Agents, launcher_of
from bot.work.permissions.rules import Mode
from tests.engines.nearby import NEARBY, NearbyEngine, NearbySettings

FARM = """
[engines.farm]
kind = "nearby"
places = 3
"""


@pytest.fixture(autouse=True)
def nearby_is_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "KINDS", {"nearby": NEARBY})


def agents(text: str) -> Agents:
    return AgentsFile(Path("/etc/weft/weft.toml"), text).agents("/srv/all")


def problems(text: str) -> list[str]:
    with pytest.raises(AgentsFileError) as caught:
        agents(text)
    return [re.sub(r"^weft.toml, line \d+: ", "", problem) for problem in caught.value.problems]


def red(text: str = "", more: str = FARM) -> str:
    return f'[agents.red]\ncommand = "red"\nengine = "farm"\nworkspace = "/work/{{thread_id}}"\n{text}\n{more}'


def test_on_a_host_that_threads_share_an_agent_may_not_do_everything_unless_it_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C3, P14: only a container keeps it from the other threads' files."""
    monkeypatch.setattr(engines, "KINDS", {"nearby": replace(NEARBY, contains=False)})
    [problem] = problems(red('permissions = { mode = "allow" }'))
    assert problem.startswith("agents.red.permissions.mode: allow lets red do whatever it asks for")
    trusted = agents(red('permissions = { mode = "allow", i_trust_this_agent = true }')).profiles["red"]
    assert (trusted.mode, trusted.contained) == (Mode.ALLOW, False)


def test_an_agent_names_the_engine_that_runs_it() -> None:
    """P14: a container keeps it in, and its tools can't reach Weft from there."""
    known = agents(red('permissions = { mode = "allow" }'))
    profile = known.profiles["red"]
    assert (profile.engine, profile.workspace, profile.tools) == ("farm", "/work/{thread_id}", False)
    assert (profile.mode, profile.contained) == (Mode.ALLOW, True)
    assert known.engines["farm"].settings == NearbySettings(places=3)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            red(more=FARM.replace("farm", "form")),
            ["agents.red.engine: there is no [engines.farm]; did you mean form?"],
        ),
        (red(more="[engines.farm]\nplaces = 3"), ["engines.farm.kind: is missing: one of nearby"]),
        (red(more='[engines.farm]\nkind = "cloud"'), ["engines.farm.kind: there is no kind 'cloud', only nearby"]),
        (red(more=f"{FARM}place = 2"), ["engines.farm.place: there is no such setting; did you mean places?"]),
        (
            red('wrapper = "bwrap"'),
            ["agents.red.wrapper: is for agents of this machine: leave it out, or leave out engine"],
        ),
        (
            red(more=f'{FARM}[projects.web]\npath = "/srv/web"'),
            [
                "projects.web.agent: red runs on another machine, and a project is a directory of this one: "
                "name another agent"
            ],
        ),
        (
            f'[agents.red]\ncommand = "red"\nengine = "farm"\n{FARM}',
            ["agents.red.workspace: is missing: a directory on the machines of farm, with {thread_id} in it"],
        ),
    ],
    ids=["no engine", "no kind", "no such kind", "a slip", "of this machine", "a project", "no workspace"],
)
def test_what_is_wrong_in_a_table_is_told(text: str, lines: list[str]) -> None:
    """P14."""
    assert problems(text) == lines


_SSH = '[engines.farm]\nkind = "ssh"\nhosts = ["one", { address = "two", place = 3 }]'
_CLUSTER = '[engines.farm]\nkind = "kubernetes"\nimage = "agent:1"\n'


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (_SSH, "line 8: engines.farm.hosts.1.place: there is no such setting; did you mean places?"),
        (
            f"{_CLUSTER}volume = {{ new_clam = {{}} }}",
            "line 9: engines.farm.volume.new_clam: there is no such setting; did you mean new_claim?",
        ),
        (
            f"{_CLUSTER}[engines.farm.volume.new_claim]\nstorageclss = 'fast'",
            "line 10: engines.farm.volume.new_claim.storageclss: there is no such setting; did you mean storage_class?",
        ),
        (
            f"{_CLUSTER}[[engines.farm.mounts]]\npath = '/a'\nclam = 'a'",
            "line 11: engines.farm.mounts.0.clam: there is no such setting; did you mean claim?",
        ),
        (
            f"{_CLUSTER}tolerations = [{{ key = 'a', efect = 'NoSchedule' }}]",
            "line 9: engines.farm.tolerations.0.efect: there is no such setting; did you mean effect?",
        ),
        (
            f"{_CLUSTER}requests = {{ memry = '1Gi' }}",
            "line 9: engines.farm.requests.memry: there is no such resource; did you mean memory?",
        ),
        (
            f"{_CLUSTER}limits = {{ gpu = '1', 'nvidia.com/gpu' = '1' }}",
            "line 9: engines.farm.limits.gpu: there is no such resource; there are cpu, memory, ephemeral-storage, "
            "and those with a /",
        ),
    ],
    ids=["host", "volume", "new_claim", "mount", "toleration", "requests", "limits"],
)
def test_a_slip_in_a_table_within_an_engines_is_told_with_what_was_meant(
    table: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P14."""
    monkeypatch.setattr(engines, "KINDS", KINDS)
    with pytest.raises(AgentsFileError) as caught:
        agents(red(more=table))
    assert caught.value.problems == (f"weft.toml, {line}",)


def test_a_library_that_is_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """P14: the settings are read without it."""
    monkeypatch.setattr(engines, "KINDS", {"nearby": EngineKind(NearbySettings, "no_such_library:Engine", "nearby")})
    found = list(engines_problems(agents(red()).engines))
    assert found == [("farm", f"no_such_library is not installed: {sys.executable} -m pip install 'weft[nearby]'")]


def test_a_start_carries_labels_and_the_variables_that_are_named() -> None:
    """P14, R5: nothing else of this machine's environment, and never the token."""
    known = agents(red('env = ["RED_*", "DISCORD_TOKEN*"]\nset = { MODE = "x" }'))
    environ = {"RED_KEY": "k", "HOME": "/root", "PATH": "/bin", "DISCORD_TOKEN": "t"}
    engine = NearbyEngine("farm", NearbySettings())
    launcher = launcher_of(
        known, environ, {"WEFT_STATE": "local"}, lambda _: "red", engines={"farm": engine}, state="s"
    )
    spec = launcher.spec(7)
    assert (spec.argv, spec.cwd, spec.engine) == (("red",), "/work/7", engine)
    assert dict(spec.env) == {"RED_KEY": "k", "MODE": "x"}
    assert dict(spec.labels) == {"state": "s", "agent": "red", "thread": "7"}
    assert launcher.errand(7).cwd == "/work"
    assert launcher.sharing(7) is None
