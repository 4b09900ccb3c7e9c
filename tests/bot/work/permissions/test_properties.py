"""What the rules believe of a line, against what a real shell does with it: stubs record each program that is run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acp.schema import ToolCallUpdate
from bot.work.permissions.asks import ask_of
from bot.work.permissions.command_lines import runs_of
from bot.work.permissions.command_patterns import Match, may_fit, pattern_of
from bot.work.permissions.rules import Rule, covers

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")

STUB = '#!/bin/sh\nprintf "%s\\0" "$#" "${0##*/}" "$@" >> "$EXECUTED"\n'
STUBS = ("git", "tool", "other", "deny")
REAL = ("bash", "sh", "env", "timeout", "nice", "nohup", "xargs", "find", "cat")
Ran = Callable[[str, str], list[list[str]]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run a line in a shell that finds nothing but stubs; return the words of each program that was run."""
    home = tmp_path_factory.mktemp("shell")
    (home / "bin").mkdir()
    (home / "empty").mkdir()
    for name in STUBS:
        (home / "bin" / name).write_text(STUB)
        (home / "bin" / name).chmod(0o755)
    for name in REAL:
        if found := shutil.which(name):
            (home / "bin" / name).symlink_to(found)
    (home / "bin" / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (home / "bin" / "sudo").chmod(0o755)
    numbers = count()

    def run(shell: str, line: str) -> list[list[str]]:
        # One for each run: what goes on in the background of another one may come late.
        log = home / f"executed{next(numbers)}"
        log.touch()
        environment = {
            "PATH": str(home / "bin"),
            "EXECUTED": str(log),
            "HOME": str(home / "empty"),
            "LC_ALL": "C.UTF-8",
            "FUNCNEST": "10",
        }
        argv = [os.fsencode(word) for word in (shell, "-c", line)]
        # A line may wait for input or loop: neither is what is looked at.
        subprocess.run(
            argv,
            env=environment,
            cwd=home / "empty",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
        for left in (home / "empty").iterdir():
            left.unlink()
        fields = log.read_bytes().decode().split("\0")
        found = []
        while len(fields) > 1:
            count = int(fields[0])
            found.append(fields[1 : count + 2])
            fields = fields[count + 2 :]
        return found

    return run


def words_allowed(line: str) -> tuple[str, ...] | None:
    call = ToolCallUpdate.parse({"toolCallId": "t", "kind": "execute", "rawInput": {"command": line}})
    asked = ask_of(call, "/work")
    return asked.words if covers(Rule(command="git *"), asked) else None


LITERAL = (
    "git",
    "tool",
    " ",
    " a",
    " -s",
    " 'a b'",
    ' "c d"',
    " e=f",
    " @",
    " ''",
    " 'x'\"y\"z",
    " a/b.c",
    " '$(other)'",
)
SPECIAL = (
    *";&|<>()$`\\\"'*?[]#~{}!=%^\n\t\r:,@+",
    "&&",
    "||",
    "; other",
    " $(other)",
    " `other`",
    '"$(other)"',
    "$X",
    "${X:-other}",
    " >f",
    " <<E",
    "\nother",
    "{a,b}",
    "X=1 ",
    " <(other)",
    "$'a'",
    "\u00a0",
    "é",
    "!!",
    " # ",
    "\\\n",
)
literal = st.lists(st.sampled_from(LITERAL), max_size=4).map("".join)
mostly_literal = st.builds("git {} {}{}".format, literal, st.just("") | st.sampled_from(SPECIAL), literal)
soup = st.lists(st.sampled_from((*LITERAL, *SPECIAL, "git ", "other ")), max_size=9).map("".join)
checked = settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("shell", [name for name in ("bash", "dash", "zsh") if shutil.which(name)])
def test_an_allowed_line_runs_one_program_with_the_words_that_were_matched(shell: str, ran: Ran) -> None:
    """C2: never a second one."""
    path, seen = shutil.which(shell) or shell, set[str]()

    @checked
    @given(mostly_literal | mostly_literal | soup)
    def check(line: str) -> None:
        words = words_allowed(line)
        if words is not None:
            seen.add(line)
            assert ran(path, line) == [list(words)]

    check()
    # Each sign by itself, too: which of them chance leaves out must not matter.
    for special in SPECIAL:
        for line in (f"git {special}", f"git a{special} b", f"git 'a'{special}"):
            if (words := words_allowed(line)) is not None:
                assert ran(path, line) == [list(words)]
    assert len(seen) > 20, "hardly a line was allowed, so this shows nothing"


NAMES = (
    "deny",
    "d'en'y",
    '"deny"',
    "\\deny",
    "de\\\nny",
    "$'deny'",
    "$'\\x64eny'",
    "${X:-deny}",
    "$(echo deny)",
    "`echo deny`",
)
NOISE = (
    "true",
    'echo "it\'s"',
    "echo 'a\"b'",
    "echo \\'",
    "tool $X",
    "echo ${X#a}",
    "X='a b'",
    "echo a#'b'",
    "[ -n a ]",
    ":",
)


def quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"


SHAPES: list[Callable[[str], str]] = [
    lambda line: f"({line})",
    lambda line: f"{{ {line}\n}}",
    lambda line: f"true && ({line})",
    lambda line: f"tool $({line})",
    lambda line: f'tool "a $({line})"',
    lambda line: f"cat <(({line}))",
    lambda line: f"X=$({line})",
    lambda line: f"bash -c {quoted(line)}",
    lambda line: f"sudo env A=1 sh -c {quoted(line)}",
    lambda line: f"eval {quoted(line)}",
    lambda line: f"timeout 5 bash -c {quoted(line)}",
    lambda line: f"if true; then {line}\nfi",
    lambda line: f"for x in a; do {line}\ndone",
    lambda line: f"f{len(line)}() {{ {line}\n}}; f{len(line)}",  # never one that calls itself
    lambda line: f"cat <<'E'\nit's\nE\n{line}",
    lambda line: f"cat <<E\nit's $({line}) \"\nE",
    lambda line: f"cat <<E | bash\n{line}\nE",
    lambda line: f"echo a | xargs -I{{}} sh -c {quoted(line)}",
    lambda line: f"true # it's\n{line}",
    lambda line: f"[[ -n a ]] && {{ {line}\n}}",
    lambda line: f"case a in a) {line}\n;; esac",
    lambda line: f"tool $(( 1 + $({line}) ))",
    lambda line: f"! {line}",
]

simple = st.sampled_from(NAMES).map(lambda name: f"{name} x") | st.sampled_from(
    ["A=1 deny x", "sudo deny x", "nice -n 1 deny x", "env -i PATH=$PATH EXECUTED=$EXECUTED deny x", "xargs deny x"]
)
beside = st.just("") | st.builds(
    "".join, st.tuples(st.sampled_from(NOISE), st.sampled_from(["; ", " && ", " | ", "\n"]))
)


def nested(shapes: list[Callable[[str], str]], before: str, line: str) -> str:
    for shape in shapes:
        line = shape(before + line)
    return line


structured = st.builds(nested, st.lists(st.sampled_from(SHAPES), max_size=3), beside, simple)
fragments = st.lists(
    st.sampled_from(
        (*NAMES, *NOISE, *SPECIAL, "deny x", " ", "; ", "\n", "'", '"', "deny ", "if ", "then ", "; fi", "E\n", "<<E\n")
    ),
    max_size=10,
).map("".join)


def test_no_line_runs_a_denied_program_unseen(ran: Ran) -> None:
    """C1, C2: what bash really runs is found, or told as what can't be known."""
    path, seen, pattern = shutil.which("bash") or "bash", set[str](), pattern_of("deny *")

    @checked
    @given(structured | structured | fragments)
    def check(line: str) -> None:
        if may_fit(pattern, runs_of(line)) is Match.NO:
            assert [words for words in ran(path, line) if words[0] == "deny"] == []
        elif any(words[0] == "deny" for words in ran(path, line)):
            seen.add(line)

    check()
    assert len(seen) > 20, "hardly a line ran what is denied, so this shows nothing"
