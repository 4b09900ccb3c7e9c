"""Rules on permission requests: what a rule has to cover, who wins, which option is taken, what is offered (C2, C3)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from acp.schema import PermissionOption, ToolCallUpdate
from bot.work.permissions.asks import Ask, ask_of
from bot.work.permissions.rules import (
    Mode,
    Rule,
    Rules,
    Ruling,
    Verdict,
    covers,
    option_for,
    problem_of,
    suggest,
    verdict,
)

WORKSPACE = "/work/app"
STATUS = Rule(command="git status*")


def ask(workspace: str = WORKSPACE, *, complete: bool = True, **call: Any) -> Ask:
    return ask_of(ToolCallUpdate.parse({"toolCallId": "t", **call}), workspace, complete=complete)


def command(line: Any = "git status", **beside: Any) -> Ask:
    return ask(kind="execute", rawInput={"command": line, **beside})


def edit(*paths: str, kind: str = "edit", **call: Any) -> Ask:
    diffs = [{"type": "diff", "path": path, "oldText": "a", "newText": "b"} for path in paths]
    return ask(kind=kind, content=diffs, **call)


@pytest.mark.parametrize(
    ("beside", "covered"),
    [
        ({"description": "Look", "timeout": 5}, True),
        ({"call_id": "1", "reason": "x", "parsed_cmd": [{"cmd": "ls"}]}, True),
        ({"cwd": WORKSPACE}, True),
        ({"cwd": f"{WORKSPACE}/"}, True),
        ({"workdir": None, "env": {}, "stdin": ""}, True),
        ({"run_in_background": False}, True),
        ({"cwd": f"{WORKSPACE}/sub"}, False),
        ({"cwd": "/"}, False),
        ({"cwd": "../app"}, False),
        ({"cwd": "~"}, False),
        ({"cwd": ["x"]}, False),
        ({"cwd": WORKSPACE, "workdir": "/"}, False),
        ({"env": {"PATH": "."}}, False),
        ({"stdin": "x"}, False),
        ({"run_in_background": True}, False),
        ({"dangerouslyDisableSandbox": True}, False),
        ({"args": ["--short"]}, False),
        ({"commands": ["ls"]}, False),
        ({"cmd": "ls"}, False),
        ({"script": "ls"}, False),
        ({"of the future": 1}, False),
        ({"sandbox": False}, False),
        ({"timeout": {"env": {"PATH": "."}}}, False),
        ({"timeout": ["x"]}, False),
        ({"description": {"stdin": "x"}}, False),
        ({"run_in_background": 0}, False),
    ],
)
def test_what_stands_beside_a_command_must_be_harmless(beside: dict[str, Any], covered: bool) -> None:
    """C2: what a command does depends on it."""
    assert covers(STATUS, command(**beside)) is covered


@pytest.mark.parametrize(
    "call",
    [
        {"rawInput": {"command": "git status"}, "content": [{"type": "of the future"}]},
        {"rawInput": {"command": "git status"}, "content": [{"type": "diff", "path": "a", "newText": "b"}]},
        {"rawInput": {"command": "git status"}, "content": "x"},
        {"rawInput": {"command": "git status"}, "locations": [{"path": "/etc/passwd"}]},
        {"rawInput": {"command": "git status"}, "locations": [{"path": 1}]},
        {"rawInput": {"command": "git status"}, "locations": "x"},
        {"rawInput": {"command": "git status"}, "newField": 1},
        {"rawInput": {"command": "git status"}, "kind": ["execute"]},
        {"rawInput": "git status"},
        {"rawInput": ["git status"]},
        {"title": "git status", "kind": "execute"},
        {},
    ],
)
def test_a_request_with_more_than_a_command_is_not_covered(call: dict[str, Any]) -> None:
    """C2"""
    assert not covers(STATUS, ask(**call))
    assert covers(STATUS, ask(rawInput={"command": "git status"}, title="x", _meta={"x": 1}, locations=[]))


def test_an_incomplete_request_is_allowed_by_nothing() -> None:
    """C2, C3: nobody has seen the rest."""
    half = ask(rawInput={"command": "git status"}, complete=False)
    rules = Rules(allow=(STATUS,))
    assert {verdict(half, rules, mode).ruling for mode in (Mode.ASK, Mode.ALLOW)} == {Ruling.ASK}
    assert verdict(half, rules, Mode.DENY).ruling is Ruling.DENY
    assert suggest(half) is None


def test_a_rule_on_a_command_and_a_path_is_about_where_it_runs() -> None:
    """C2"""
    rule = Rule(command="npm test", path="packages/*")
    assert covers(rule, command("npm test", cwd=f"{WORKSPACE}/packages/a"))
    assert covers(rule, command("npm test", cwd="packages/a"))
    for cwd in (WORKSPACE, f"{WORKSPACE}/packages", "packages/a/b", "packages/.a", "/packages/a", "packages/b/../a"):
        assert not covers(rule, command("npm test", cwd=cwd))
    assert not covers(rule, ask("", rawInput={"command": "npm test", "cwd": "packages/a"}))
    assert not covers(STATUS, ask("", rawInput={"command": "git status"}))


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("src/**", "src/a.py", True),
        ("src/**", f"{WORKSPACE}/src/b/c.py", True),
        ("src/**", "./src//b/a.py", True),
        ("src/", "src/a/b.py", True),
        ("./src/**", "src/a.py", True),
        ("src/*.py", "src/a.py", True),
        ("**/*.py", "a.py", True),
        ("**/test_*.py", "tests/unit/test_a.py", True),
        ("docs/[ab].md", "docs/a.md", True),
        ("/etc/hosts", "/etc/hosts", True),
        ("/tmp/**", "/tmp/a/b", True),
        ("/work/**", "src/a.py", True),
        (".github/*.yml", ".github/a.yml", True),
        ("**", "straße.txt", True),
        ("src/**", "lib/a.py", False),
        ("src/*.py", "src/b/a.py", False),
        ("src/**", "srcx/a.py", False),
        ("src/**", "src/../lib/a.py", False),
        ("src/**", "src/b/../a.py", False),
        ("**", "../a.py", False),
        ("**", "/etc/passwd", False),
        ("**", "/work/app2/a", False),
        ("**", "~/a", False),
        ("**", ".git/hooks/pre-commit", False),
        ("**", "a/.env", False),
        ("*", ".env", False),
        ("**", "a\u202eb", False),
        ("**", "a\nb", False),
        ("**", "a\0b", False),
        ("**", "file:///etc/passwd", False),
        ("**", "", False),
        ("/tmp/**", "/tmp/../etc/passwd", False),
    ],
)
def test_a_path_is_what_its_letters_say_and_nothing_else(pattern: str, path: str, covered: bool) -> None:
    """C2: relative patterns are about the workspace, and names with a dot have to be named."""
    assert covers(Rule(kind="edit", path=pattern), edit(path)) is covered


def test_a_rule_covers_every_path_that_a_request_names() -> None:
    """C2: in changes, places, and the agent's own input, at any depth."""
    rule = Rule(kind="edit", path="src/**")
    assert covers(rule, edit("src/a", "src/b", locations=[{"path": f"{WORKSPACE}/src/a", "line": 3}]))
    assert covers(rule, edit("src/a", rawInput={"file_path": "src/a", "old_string": "a", "new_string": "b"}))
    assert not covers(rule, edit("src/a", "b"))
    assert not covers(rule, edit("src/a", locations=[{"path": "b"}]))
    assert not covers(rule, edit("src/a", rawInput={"file_path": "b"}))
    assert not covers(rule, edit("src/a", rawInput={"edits": [{"path": "b"}]}))
    assert not covers(rule, edit("src/a", rawInput={"changes": {"b": {}}}))
    assert not covers(rule, edit("src/a", rawInput={"path": 1}))
    assert not covers(rule, edit("src/a", rawInput={"edits": [{}] * 6_000}))
    assert not covers(rule, edit())
    assert not covers(rule, edit("src/a", kind="delete"))
    assert not covers(rule, edit("src/a", kind="execute", rawInput={"command": "ls"}))


def test_a_rule_on_a_kind_is_about_the_workspace() -> None:
    """C2"""
    rule = Rule(kind="read")
    assert covers(rule, ask(kind="read", locations=[{"path": "a.py"}], rawInput={"file_path": "a.py", "limit": 3}))
    for path in ("/etc/passwd", "../a", ".env", "~/.ssh/id_rsa"):
        assert not covers(rule, ask(kind="read", locations=[{"path": path}]))
    assert not covers(rule, ask(kind="read"))
    assert not covers(rule, edit("a.py", kind="read"))
    assert not covers(rule, ask(kind="read", rawInput={"command": "git status"}))
    assert covers(Rule(kind="fetch"), ask(kind="fetch", rawInput={"url": "https://example.org"}))


def test_a_search_is_where_its_globs_are() -> None:
    """C2"""
    rule = Rule(kind="search")
    assert covers(rule, ask(kind="search", rawInput={"pattern": "TODO", "path": "src", "glob": "*.py"}))
    for outside in ({"glob": "/etc/*"}, {"include": "../*"}, {"pattern": "~/*"}, {"path": "/etc"}):
        assert not covers(rule, ask(kind="search", rawInput=outside))


def test_a_command_is_of_the_kind_execute_whatever_the_agent_calls_it() -> None:
    """C2"""
    rule = Rule(kind="execute", command="git status*")
    for kind in (None, "other", "execute"):
        assert covers(rule, ask(kind=kind, rawInput={"command": "git status"}))
    assert not covers(rule, ask(kind="read", rawInput={"command": "git status"}))


def test_what_may_be_a_command_or_a_path_under_an_unknown_key_is_found_to_deny() -> None:
    """C1, C2: an agent's own tools have names for things that nobody knows here."""
    rules = Rules(deny=(Rule(command="git push*"), Rule(path="secrets/**")))
    maybe = [
        ask(rawInput={"cmdline": "cd x && git push"}),
        ask(rawInput={"steps": [{"run": "git push"}]}),
        ask(rawInput={"command": "make", "then": "git push"}),
        ask(rawInput={"blob": "x" * 300_000}),
    ]
    assert {verdict(one, rules, Mode.ALLOW).ruling for one in maybe} == {Ruling.ASK}
    denied = [ask(kind="move", rawInput={"to": "secrets/a"}), ask(rawInput={"changes": {"secrets/a": {"type": "add"}}})]
    assert {verdict(one, rules, Mode.ALLOW).ruling for one in denied} == {Ruling.DENY}
    harmless = [ask(rawInput={"issue": "Pushes fail"}), ask(kind="fetch", rawInput={"url": "https://git/push"})]
    assert {verdict(one, rules, Mode.ALLOW).ruling for one in harmless} == {Ruling.ALLOW}


def test_deny_comes_first_then_two_people_then_allow() -> None:
    """C1, C2"""
    push = command("git push")
    allow, pushes = Rule(command="git *"), Rule(command="git push*")
    assert verdict(push, Rules((allow,), (pushes,), (pushes,)), Mode.ALLOW) == Verdict(Ruling.DENY, pushes)
    assert verdict(push, Rules((allow,), (), (pushes,)), Mode.ALLOW) == Verdict(Ruling.ASK, pushes, two_person=True)
    assert verdict(push, Rules((allow,), (), (pushes,)), Mode.DENY) == Verdict(Ruling.DENY, pushes, two_person=True)
    assert verdict(push, Rules((allow,)), Mode.DENY) == Verdict(Ruling.ALLOW, allow)
    assert [verdict(push, Rules(), mode) for mode in Mode] == [
        Verdict(Ruling.ASK),
        Verdict(Ruling.DENY),
        Verdict(Ruling.ALLOW),
    ]


@pytest.mark.parametrize(
    "call",
    [
        {"kind": "execute"},
        {"kind": "execute", "rawInput": {"command": {"run": "ls"}}},
        {"rawInput": {"commands": ["ls", "pwd"]}},
        {"kind": "execute", "rawInput": "ls"},
        {"rawInput": {"command": "git", "args": {"x": "y"}, "input": 1}},
        {"rawInput": {"command": "sh", "stdin": "x"}},
    ],
)
def test_a_command_that_can_not_be_read_takes_two_people_and_is_allowed_by_no_mode(call: dict[str, Any]) -> None:
    """C1, C3: fail closed."""
    pushes = Rule(command="git push*")
    assert verdict(ask(**call), Rules(two_person=(pushes,)), Mode.ASK).two_person
    assert verdict(ask(**call), Rules(deny=(pushes,)), Mode.ALLOW).ruling is Ruling.ASK


@pytest.mark.parametrize(
    "call",
    [
        {"kind": "execute", "title": "git push"},
        {"kind": "execute", "rawInput": "ls; git push"},
        {"rawInput": {"command": "git", "args": ["push"]}},
        {"rawInput": {"command": "ls", "cmd": "git push"}},
        {"rawInput": {"commands": ["git push"]}},
        {"rawInput": {"command": "bash", "args": ["-c", "git push"]}},
    ],
)
def test_a_denied_command_is_found_where_agents_say_it(call: dict[str, Any]) -> None:
    """C2"""
    assert verdict(ask(**call), Rules(deny=(Rule(command="git push*"),)), Mode.ALLOW).ruling is Ruling.DENY


@pytest.mark.parametrize(
    ("path", "ruling"),
    [
        (".env", Ruling.DENY),
        ("a/.env", Ruling.DENY),
        ("/home/me/.env", Ruling.DENY),
        ("b/../.ENV", Ruling.DENY),
        ("caf\u00e9/a", Ruling.DENY),
        ("cafe\u0301/a", Ruling.DENY),
        ("CAF\u00c9/a", Ruling.DENY),
        ("CAFE\u0301/a", Ruling.DENY),
        ("STRASSE/a", Ruling.DENY),
        ("stra\u00dfe/a", Ruling.DENY),
        ("cafe/a", Ruling.ALLOW),
        ("secrets/a/b", Ruling.DENY),
        (f"{WORKSPACE}/secrets/a", Ruling.DENY),
        ("src/a", Ruling.ALLOW),
        ("/secrets/a", Ruling.ALLOW),
        ("src/../lib", Ruling.ASK),
        ("~/x", Ruling.ASK),
    ],
)
def test_a_denied_path_is_found_and_an_unclear_one_is_asked(path: str, ruling: Ruling) -> None:
    """C2, C3"""
    named = ("**/.env", "secrets/**", "cafe\u0301/**", "Stra\u00dfe/**")
    rules = Rules(deny=tuple(Rule(path=one) for one in named))
    assert verdict(edit("src/ok", path), rules, Mode.ALLOW).ruling is ruling


def test_a_change_of_which_no_path_is_known_may_be_a_denied_one() -> None:
    """C2"""
    rules = Rules(deny=(Rule(kind="edit", path="secrets/**"),))
    assert verdict(ask(kind="edit"), rules, Mode.ALLOW).ruling is Ruling.ASK
    assert verdict(ask(kind="fetch"), rules, Mode.ALLOW).ruling is Ruling.ALLOW
    # Whatever the agent calls it, a change is one.
    assert verdict(edit("secrets/a", kind="read"), rules, Mode.ALLOW).ruling is Ruling.DENY


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (command("git  status 'a*b'"), Rule(command="git status 'a[*]b'")),
        (command("npm test", cwd="packages/a"), Rule(command="npm test", path="packages/a")),
        (command(["bash", "-lc", "npm test"]), Rule(command="npm test")),
        (command("sudo reboot"), Rule(command="sudo reboot")),
        (command("bash -c 'ls; id'"), Rule(command="bash -c 'ls; id'")),
        (edit("src/[a]*.py"), Rule(kind="edit", path="src/[[]a][*].py")),
        (edit(".github/a.yml"), Rule(kind="edit", path=".github/a.yml")),
        (edit("/tmp/a"), Rule(kind="edit", path="/tmp/a")),
        (ask(kind="delete", locations=[{"path": "a"}]), Rule(kind="delete", path="a")),
        (command("ls | wc"), None),
        (command("ls", env={"A": "b"}), None),
        (command("ls", cwd="/"), None),
        (edit("a", "b"), None),
        (edit("a/../b"), None),
        (ask(kind="fetch", rawInput={"url": "x"}), None),
        (ask(), None),
    ],
)
def test_the_rule_that_is_offered_allows_just_what_was_asked(asked: Ask, rule: Rule | None) -> None:
    """C2"""
    assert suggest(asked) == rule
    if rule is not None:
        assert verdict(asked, Rules(allow=(rule,)), Mode.ASK).ruling is Ruling.ALLOW
        for other in (command("git status axb"), command("npm test x"), edit("src/ax.py"), edit("/tmp/b")):
            assert not covers(rule, other)


def test_a_rule_takes_only_what_holds_once() -> None:
    """C2: nothing that stays, and of several ways to say yes none."""
    every = {
        kind: PermissionOption(option_id=kind, kind=kind) for kind in ("allow_always", "allow_once", "reject_once")
    }
    always, once, reject = every.values()
    assert option_for(Ruling.ALLOW, [always, once, reject]) is once
    assert option_for(Ruling.ALLOW, [always, reject]) is None
    assert option_for(Ruling.ALLOW, [once, PermissionOption(option_id="2", kind="allow_once"), reject]) is None
    assert option_for(Ruling.DENY, [always, once, reject]) is reject
    assert option_for(Ruling.DENY, [once, PermissionOption(option_id="x", kind="reject_always")]) is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule(), "says nothing"),
        (Rule(kind="run"), "'run' is not a kind"),
        (Rule(command="git 'x"), "has a quote that is not closed"),
        (Rule(command=""), "names no program"),
        (Rule(command="*"), "names no program"),
        (Rule(command="g* status"), "would allow any program"),
        (Rule(command="sudo *"), "sudo runs other commands"),
        (Rule(command="bash -c *"), "bash runs other commands"),
        (Rule(command="find . -exec *"), "find runs other commands"),
        (Rule(kind="edit", command="ls"), "can never match"),
        (Rule(kind="execute"), "would allow anything"),
        (Rule(kind="other"), "would allow anything"),
        (Rule(path="~/x"), "can never match"),
        (Rule(path="../x"), "can never match"),
        (Rule(path=" "), "is not a path"),
        (Rule(path="a\u200bb"), "is not a path"),
    ],
)
def test_a_rule_that_means_nothing_or_everything_is_no_rule(rule: Rule, problem: str) -> None:
    """C2"""
    assert problem in problem_of(rule, allow=True)


def test_a_deny_rule_may_say_more_than_an_allow_rule() -> None:
    """C2"""
    for rule in (Rule(command="*"), Rule(command="g* status"), Rule(command="sudo *"), Rule(kind="execute")):
        assert problem_of(rule, allow=False) == ""
    assert verdict(command("ls"), Rules(deny=(Rule(command="*"),)), Mode.ASK).ruling is Ruling.DENY
    assert problem_of(Rule(command=""), allow=False)


@pytest.mark.parametrize(
    "asked",
    [
        ask(kind="fetch", rawInput={"url": "file:///etc/passwd"}),
        ask(kind="read", rawInput={"url": "file:///etc/passwd"}, locations=[{"path": "a"}]),
        ask(kind="search", rawInput={"pattern": "{/etc,a}/*"}),
        ask(kind="switch_mode", rawInput={"path": "src/a"}),
        ask(kind="read", rawInput={"paths": [f"a/{number}" for number in range(501)]}),
        ask(kind="read", rawInput={"path": "a/" * 501}),
        command(["git", "status", "(id)"]),
        ask(kind="read", rawInput={"path": "src/a", "timeout": {"limit": "b"}}),
        ask(kind="read", rawInput={"path": "src/a", "description": ["b"]}),
    ],
)
def test_what_may_lead_elsewhere_is_covered_by_no_rule(asked: Ask) -> None:
    """C2: an address of a file, a glob, a plan, more than is looked at, words that fish would run once joined."""
    wide = (STATUS, *(Rule(kind=kind) for kind in ("fetch", "read", "search")), Rule(path="src/**"))
    assert [rule for rule in wide if covers(rule, asked)] == []


@pytest.mark.parametrize(
    "call",
    [
        {"title": "git push"},
        {"title": "git push", "kind": "bash"},
        {"title": "Run", "content": [{"type": "content", "content": {"type": "text", "text": "git push"}}]},
        {"kind": "other", "rawInput": ["git", "push"]},
        {"rawInput": {"command": "make", "timeout": {"then": ["git push"]}}},
        {"rawInput": {"command": "make", "env": {"EDITOR": "git push"}}},
        {"kind": "read", "rawInput": {"timeout": {"x": "git push"}}},
        {"kind": "read", "rawInput": {"timeout": ["git push"]}},
        {"kind": "read", "rawInput": {"paths": ["a/" * 600]}},
        {"kind": "read", "rawInput": {"paths": [f"{number}" for number in range(501)] + [".env"]}},
    ],
)
def test_what_may_be_denied_is_asked_wherever_it_stands(call: dict[str, Any]) -> None:
    """C2, C3: some agents say in the title alone what is run; and what is not looked at may be anything."""
    rules = Rules(deny=(Rule(command="git push*"), Rule(path="**/.env")))
    assert verdict(ask(**call), rules, Mode.ALLOW) == Verdict(Ruling.ASK)


def test_a_glob_of_a_search_is_denied_as_the_path_that_it_names() -> None:
    rules = Rules(deny=(Rule(path="**/.env"),))
    searches = [ask(kind="search", rawInput={"pattern": pattern}) for pattern in ("**/.env", "*.py", r"\benv")]
    assert [verdict(one, rules, Mode.ALLOW).ruling for one in searches] == [Ruling.DENY, Ruling.ALLOW, Ruling.ALLOW]


@pytest.mark.parametrize(
    "raw",
    [
        {f"k{number}": "a/" * 490 for number in range(4_990)},
        {"path": "a/" * 4_000_000},
        {"command": "ls", "args": ["npx npx npx npx " * 25] * 499},
    ],
)
def test_judging_takes_no_time_that_threads_would_notice(raw: dict[str, Any]) -> None:
    """C2: these took 5 to 38 s, while every thread waited."""
    start = time.process_time()
    rules = Rules(allow=(Rule(kind="read"),), deny=(Rule(command="git push*"), Rule(path="**/.env")))
    assert verdict(ask(kind="read", rawInput=raw), rules, Mode.ASK).ruling is Ruling.ASK
    assert time.process_time() - start < 1
