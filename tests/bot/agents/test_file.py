"""``weft.toml``: what it says, and how each thing that is wrong in it is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.agents.file import AgentsFile, AgentsFileError, line_of
from bot.agents.model import AgentProfile, Agents
from bot.work.permissions.rules import Mode, Rule, Rules
from pool.wrapping import ResourceLimits

CHANNEL = "100000000000000001"
FULL = f"""
default = "claude"
[agents.claude]
command = ["claude-agent-acp"]
env = ["ANTHROPIC_API_KEY", "CLAUDE_*"]
set = {{ CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = "1" }}
workspace = "/srv/claude/{{thread_id}}"
start_timeout = 30
hard_timeout = 7200
wrapper = ["bwrap", "--bind", "{{workspace}}", "{{workspace}}"]
session_directory = "/work"
[agents.claude.limits]
memory = "4G"
processes = 500
open_files = 4096
[agents.codex]
command = "codex-acp --flag 'two words'"
sessions_per_process = 5
[channels]
"{CHANNEL}" = "codex"
"""


def agents(text: str, workspace: str | None = "/srv/all", state_dir: Path = Path("/var/lib/weft")) -> Agents:
    return AgentsFile(Path("/etc/weft/weft.toml"), text).agents(workspace, state_dir)


def problems(text: str, workspace: str | None = "/srv/all") -> tuple[str, ...]:
    with pytest.raises(AgentsFileError) as caught:
        agents(text, workspace)
    return caught.value.problems


def agent(text: str = "", *, more: str = "") -> str:
    return f'[agents.red]\ncommand = "red"\n{text}\n{more}'


def project(text: str = "", of_agent: str = "") -> str:
    return agent(of_agent, more=f'[projects.web]\npath = "/srv/web"\n{text}\n')


def test_a_project_says_where_its_threads_work_and_what_is_added_to_their_agent() -> None:
    """W1"""
    known = agents(
        f"""
        [agents.red]
        command = "red"
        env = ["RED_KEY"]
        permissions = {{ deny = [{{ kind = "fetch" }}] }}
        [projects.web]
        path = "/srv/web"
        base = "release/2.0"
        setup = "npm ci"
        env = ["NPM_TOKEN", "RED_KEY"]
        permissions = {{ mode = "deny", allow = [{{ command = "npm test" }}] }}
        [projects.notes]
        path = "/srv/notes"
        worktree = false
        [channels]
        "{CHANNEL}" = {{ project = "web" }}
        """,
        state_dir=Path("/var/lib/weft"),
    )
    web, notes = known.projects["web"], known.projects["notes"]
    assert (web.base, web.setup, web.setup_timeout, web.hooks) == ("release/2.0", ("npm", "ci"), 600.0, False)
    assert known.channel_projects == {int(CHANNEL): "web"}
    at_web = known.profile("red", "web")
    assert at_web.workspace == web.workspace == "/var/lib/weft/worktrees/web/{thread_id}"
    assert (at_web.env, at_web.mode) == (("RED_KEY", "NPM_TOKEN"), Mode.DENY)
    assert at_web.rules == Rules(allow=(Rule(command="npm test"),), deny=(Rule(kind="fetch"),))
    assert known.profile("red", "notes").workspace == notes.workspace == "/srv/notes"
    assert known.profile("red") == known.profiles["red"]
    # One that is gone works nowhere, and least of all where the agent's other threads do.
    assert known.profile("red", "gone").workspace == ""


def test_a_new_thread_gets_the_agent_of_its_channel_before_that_of_its_project() -> None:
    """W1, P8"""
    text = "default = 'red'\n" + project("agent = 'blue'") + "[agents.blue]\ncommand = 'blue'\n"
    known = agents(text + f"[channels]\n{CHANNEL} = 'red'")
    assert (known.for_channel(int(CHANNEL), "web"), known.for_channel(7, "web"), known.for_channel(7)) == (
        "red",
        "blue",
        "red",
    )
    assert known.for_channel(7, "gone") == "red"


def test_everything_that_can_be_said_is_understood() -> None:
    """R5, Settings and exits."""
    claude = AgentProfile(
        name="claude",
        command=("claude-agent-acp",),
        workspace="/srv/claude/{thread_id}",
        env=("ANTHROPIC_API_KEY", "CLAUDE_*"),
        fixed={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        wrapper=("bwrap", "--bind", "{workspace}", "{workspace}"),
        session_directory="/work",
        start_timeout=30.0,
        hard_timeout=7200.0,
        limits=ResourceLimits(memory=4 * 2**30, processes=500, open_files=4096),
        tools=False,
    )
    codex = AgentProfile("codex", ("codex-acp", "--flag", "two words"), "/srv/all", sessions_per_process=5)
    assert agents(FULL) == Agents({"claude": claude, "codex": codex}, "claude", {int(CHANNEL): "codex"})


def test_an_only_agent_is_the_default() -> None:
    assert agents(agent()).default == "red"


def test_a_channel_has_its_agent_and_other_channels_the_default() -> None:
    """D1: a thread counts as its channel."""
    known = agents(FULL)
    assert (known.for_channel(int(CHANNEL)), known.for_channel(7)) == ("codex", "claude")


@pytest.mark.parametrize(("size", "expected"), [("512M", 512 * 2**20), ("1T", 2**40), ("20000000", 20_000_000)])
def test_memory_has_a_unit(size: str, expected: int) -> None:
    (red,) = agents(agent(more=f'[agents.red.limits]\nmemory = "{size}"'))
    assert red.limits.memory == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            agent('mcp_command = ["weft", "mcp"]'),
            "agents.red.mcp_command: has to begin with an absolute path",
        ),
        (agent("comand = 1"), "agents.red.comand: there is no such setting"),
        (agent(more="[chanels]"), "chanels: there is no such setting"),
        (agent(more="[agents.red.limits]\ncpu = 1"), "agents.red.limits.cpu: there is no such setting"),
        ('[agents.red]\nenv = ["A"]', "agents.red.command: is missing"),
        ("default = 'red'", "there is no [agents.NAME] in it"),
        ("[agents]", "there is no [agents.NAME] in it"),
        ("[agents.red]\ncommand = []", "agents.red.command: is empty"),
        (agent('start_timeout = "30"'), "agents.red.start_timeout: '30' is text: write it without quotes"),
        (agent("start_timeout = 0"), "agents.red.start_timeout: 0 is too small: give more than 0"),
        (agent("start_timeout = inf"), "agents.red.start_timeout: inf is not a number: give seconds, such as 900"),
        (agent("env = 'KEY'"), "agents.red.env: 'KEY' is not a list: write ['KEY']"),
        (agent("env = ['A B']"), "agents.red.env.0: 'A B' is not a variable's name"),
        (agent("set = { A = 1 }"), "agents.red.set.A: 1 is not text: put it in quotes"),
        (agent("session_directory = 'work'"), "agents.red.session_directory: 'work' is not an absolute path"),
        (agent("sessions_per_process = 0"), "agents.red.sessions_per_process: 0 is too small: give at least 1"),
        (agent("sessions_per_process = true"), "agents.red.sessions_per_process: true is not a whole number"),
        (
            agent(more="[agents.red.limits]\nmemory = '4 GB'"),
            'agents.red.limits.memory: \'4 GB\' is not a size such as "512M" or "4G"',
        ),
        (
            agent(more="[agents.red.limits]\nmemory = 4"),
            "agents.red.limits.memory: 4 is too small: give at least 16777216",
        ),
        (
            "[agents.Red]\ncommand = 'red'",
            "agents.Red: 'Red' is not a name: small letters, digits, - and _, at most 32",
        ),
        (agent(more="[channels]\ngeneral = 'red'"), "channels.general: 'general' is not a channel's id"),
        (agent(more=f"[channels]\n{CHANNEL} = 'blue'"), f"channels.{CHANNEL}: there is no agent 'blue', only red"),
        (f"default = 'blue'\n{agent()}", "default: there is no agent 'blue', only red"),
        (agent(more="[agents.blue]\ncommand = 'blue'"), "default: is missing: name one of red, blue"),
        (agent("env = ['DISCORD_TOKEN']"), "agents.red.env: DISCORD_TOKEN is never given to agents"),
        (agent("set = { DISCORD_TOKEN = 'x' }"), "agents.red.set: DISCORD_TOKEN can't be set"),
        (agent("set = { WEFT_AGENT = 'x' }"), "agents.red.set: WEFT_AGENT can't be set"),
        (agent("env = ['A_B']\nset = { A_B = 'x' }"), "agents.red.set: A_B is in env as well: keep one of the two"),
        (agent("wrapper = ['bwrap', '{wrkspace}']"), "agents.red.wrapper: {wrkspace} is not a placeholder"),
        (agent("session_directory = '/{wd}'"), "agents.red.session_directory: {wd} is not a placeholder"),
        (
            agent("sessions_per_process = 2\nwrapper = ['bwrap', '{thread_id}']"),
            "agents.red.wrapper: {thread_id} means one thread, but sessions_per_process lets several share it",
        ),
        (
            agent(more="[permissions]\nmode = 'yes'"),
            "permissions.mode: 'yes' is unknown: write 'ask', 'deny' or 'allow'",
        ),
        (
            agent(more="[permissions]\nallow = ['ls']"),
            "permissions.allow.0: 'ls' is not a table: write { NAME = value }",
        ),
        (agent(more="[permissions]\ntwo_person = [1]"), "permissions.two_person.0: 1 is not a table"),
        (agent(more="[permissions]\ntwo_person = ['']"), "permissions.two_person.0: '' names no program"),
        (agent(more="[[permissions.deny]]"), "permissions.deny.0: says nothing: give it kind, command or path"),
        (
            agent(more="[[agents.red.permissions.allow]]\ncommand = 'sudo *'"),
            "agents.red.permissions.allow.0: can never match: sudo runs other commands",
        ),
        (agent(more="[permissions]\nmod = 'ask'"), "permissions.mod: there is no such setting; did you mean mode?"),
        (
            agent(more="[agents.red.permissions]\ni_trust_this_agnt = true"),
            "agents.red.permissions.i_trust_this_agnt: there is no such setting; did you mean i_trust_this_agent?",
        ),
        (
            agent(more="[[permissions.allow]]\nkind = 'read'\ncomand = 'ls'"),
            "permissions.allow.0.comand: there is no such setting; did you mean command?",
        ),
        (
            agent(more="[permissions]\ni_trust_this_agent = true"),
            "permissions.i_trust_this_agent: there is no such setting",
        ),
        (
            agent(more="[permissions]\nmode = 'allow'"),
            "permissions.mode: allow lets red do whatever it asks for, with nobody looking. Give it a wrapper "
            "(docs/isolation.md), or write i_trust_this_agent = true below [agents.red.permissions]",
        ),
        (
            agent(more="[agents.red.permissions]\nmode = 'allow'"),
            "agents.red.permissions.mode: allow lets red do whatever it asks for",
        ),
        (project("pth = '/x'"), "projects.web.pth: there is no such setting; did you mean path?"),
        (agent(more="[projects.web]"), "projects.web.path: is missing"),
        (agent(more="[projects.web]\npath = 'web'"), "projects.web.path: 'web' is not an absolute path"),
        (agent(more="[projects.Web]\npath = '/x'"), "projects.Web: 'Web' is not a name: small letters"),
        (project("agent = 'rd'"), "projects.web.agent: there is no agent 'rd'; did you mean red?"),
        (project("agent = 'blue'"), "projects.web.agent: there is no agent 'blue', only red"),
        (project("base = '-x'"), "projects.web.base: '-x' is not a name that git allows, such as main"),
        (project("base = 'a..b'"), "projects.web.base: 'a..b' is not a name that git allows, such as main"),
        (project("remote = 'a b'"), "projects.web.remote: 'a b' is not a name that git allows, such as main"),
        (project("setup_timeout = 0"), "projects.web.setup_timeout: 0 is too small: give more than 0"),
        (project("env = ['DISCORD_TOKEN']"), "projects.web.env: DISCORD_TOKEN is never given to agents"),
        (project("env = ['CI']", "set = { CI = '1' }"), "projects.web.env: CI is in agents.red.set as well: keep one"),
        (
            project("worktree = false\nsetup = 'npm ci'"),
            "projects.web.setup: runs in new work trees, but worktree = false",
        ),
        (
            project("permissions = { mode = 'allow' }"),
            "projects.web.permissions: allow lets red do whatever it asks for",
        ),
        (
            project("permissions = { allow = [{ command = 'sudo *' }] }"),
            "projects.web.permissions.allow.0: can never match: sudo runs other commands",
        ),
        (
            project(f"[channels]\n{CHANNEL} = {{ project = 'wbe' }}"),
            f"channels.{CHANNEL}: there is no project 'wbe'; did you mean web?",
        ),
        (
            project(f"[channels]\n{CHANNEL} = {{ project = 'shop' }}"),
            f"channels.{CHANNEL}: there is no project 'shop', only web",
        ),
        (
            agent(more=f"[channels]\n{CHANNEL} = {{ project = 'web' }}"),
            f"channels.{CHANNEL}: there is no [projects.web]",
        ),
        ("[agents.red\n", "Expected ']'"),
        ("[agents.red]\n[agents.red]", "Cannot declare ('agents', 'red') twice (at line 2, column 12)"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str) -> None:
    """Settings and exits: a line each."""
    (line,) = problems(text)
    assert re.sub("^weft.toml, line [0-9]+: ", "weft.toml: ", line).startswith(f"weft.toml: {problem}")


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Settings and exits: a line each, in the order of the file."""
    text = f"default = 'x'\n{agent('env = [1]')}\nstart_timeout = -1\nnew = 2\n[channels]\ngeneral = 'red'"
    assert [line.split(": ")[:2] for line in problems(text)] == [
        ["weft.toml, line 4", "agents.red.env.0"],
        ["weft.toml, line 6", "agents.red.start_timeout"],
        ["weft.toml, line 7", "agents.red.new"],
        ["weft.toml, line 9", "channels.general"],
    ]
    text = f"default = 'x'\n{agent()}\nwrapper = ['{{y}}']\n[channels]\n{CHANNEL} = 'z'"
    assert [line.split(": ")[1] for line in problems(text, None)] == [
        "default",
        f"channels.{CHANNEL}",
        "agents.red.workspace",
        "agents.red.wrapper",
    ]


def test_a_workspace_is_named_somewhere() -> None:
    """R5"""
    (line,) = problems(agent(), None)
    assert line == "weft.toml, line 1: agents.red.workspace: is missing, and WEFT_WORKSPACE is not set"
    (red,) = agents(agent("workspace = '/srv/own'"), None)
    assert red.workspace == "/srv/own"


def test_two_readings_are_equal_until_something_is_changed(tmp_path: Path) -> None:
    """R1: SIGHUP tells that a changed file needs a restart."""
    path = tmp_path / "weft.toml"
    path.write_text(agent())
    before = AgentsFile.read(path)
    assert AgentsFile.read(path) == before
    path.write_text(agent("start_timeout = 3"))
    assert AgentsFile.read(path) != before


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """Settings and exits."""
    with pytest.raises(ValueError, match=r"weft\.toml does not exist"):
        AgentsFile.read(tmp_path / "weft.toml")
    (tmp_path / "weft.toml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="line 1 is not text in UTF-8"):
        AgentsFile.read(tmp_path / "weft.toml")


def test_a_mark_that_an_editor_put_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    """Settings and exits."""
    (tmp_path / "weft.toml").write_text(agent(), encoding="utf-8-sig")
    assert AgentsFile.read(tmp_path / "weft.toml").agents("/srv").names == ("red",)


def test_a_key_that_there_is_not_hides_nothing_else() -> None:
    """Settings and exits: the nearest key that there is is named."""
    text = agent("comand = 'x'\nwrapper = ['{y}']", more="[agents.red.limits]\nprocess = 4\n[chanels]")
    assert problems(text, None) == (
        "weft.toml, line 6: agents.red.limits.process: there is no such setting; did you mean processes?",
        "weft.toml, line 3: agents.red.comand: there is no such setting; did you mean command?",
        "weft.toml, line 7: chanels: there is no such setting; did you mean channels?",
        "weft.toml, line 1: agents.red.workspace: is missing, and WEFT_WORKSPACE is not set",
        "weft.toml, line 4: agents.red.wrapper: {y} is not a placeholder",
    )


def test_the_line_of_a_key_is_where_it_begins() -> None:
    """Settings and exits: of a value over several lines too, and of a table that is written in one."""
    text = '# first\n\n[a]\nlist = [\n  1,\n  2,\n]\n# key = 0\ntext = """\nkey = 1\n"""\nkey = 2\n[b]\nc = { d = 1 }\n'
    keys = {("a",): 3, ("a", "list"): 4, ("a", "list", 1): 4, ("a", "text"): 9, ("a", "key"): 12, ("b", "c", "d"): 14}
    assert {key: line_of(text, key) for key in keys} == keys
    assert (line_of(text, ("b", "none")), line_of(text, ("none",)), line_of("[", ("a",))) == (13, None, None)


def test_an_agent_has_the_rules_for_all_and_its_own_and_its_own_mode() -> None:
    """C2, C3"""
    both = agents(
        f"default = 'red'\n{agent(more='[agents.blue]')}\ncommand = 'blue'\n"
        "[permissions]\nmode = 'deny'\ntwo_person = ['git push*']\n"
        "[[permissions.allow]]\ncommand = 'ls *'\n[[permissions.allow]]\nkind = 'read'\npath = 'docs/'\n"
        "[agents.blue.permissions]\nmode = 'allow'\ni_trust_this_agent = true\ntwo_person = [{ kind = 'delete' }]\n"
        "[[agents.blue.permissions.deny]]\ncommand = 'curl *'\n"
    )
    red, blue = both
    allow, pushes = (Rule(command="ls *"), Rule(kind="read", path="docs/")), Rule(command="git push*")
    assert (red.mode, red.rules) == (Mode.DENY, Rules(allow, (), (pushes,)))
    assert (blue.mode, blue.trusted) == (Mode.ALLOW, True)
    assert blue.rules == Rules(allow, (Rule(command="curl *"),), (pushes, Rule(kind="delete")))


def test_a_wrapper_is_as_good_as_trust_for_an_agent_that_is_allowed_everything() -> None:
    """C3"""
    (red,) = agents(agent("wrapper = ['bwrap']", more="[permissions]\nmode = 'allow'"))
    assert (red.mode, red.trusted) == (Mode.ALLOW, False)


def test_a_mistake_in_the_second_rule_is_told_at_its_line() -> None:
    """Settings and exits."""
    text = f"{agent()}\n[[permissions.deny]]\nkind = 'edit'\n[[permissions.deny]]\n# why\nkind = 'run'\n"
    (line,) = problems(text)
    assert line.startswith("weft.toml, line 7: permissions.deny.1: 'run' is not a kind of tool call")
    (line,) = problems(text.replace("'run'", "1"))
    assert line == "weft.toml, line 9: permissions.deny.1.kind: 1 is not text: put it in quotes"
