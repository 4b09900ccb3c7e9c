"""What is sent to a host of an ssh engine, evaluated by the shells that hosts have."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp.shutdown import StopLimits, carriers
from pool.engines.ssh.script import Frames, command, marked, message, shared_part, steps
from tests.engines.matrix import HOSTILE
from tests.repeat import in_soak

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
NONCE = "0123456789abcdef"
PATH = "/usr/bin:/bin"
ALL_BYTES = bytes(range(1, 256)).decode(errors="surrogateescape")


@pytest.fixture
def marker() -> Iterator[str]:
    """What a test's processes are marked with; none of them outlives it."""
    marker = uuid.uuid4().hex
    yield marker
    for process in carriers(marker):
        process.kill()


def shell(name: str, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """Return a shell and an environment for it; that of busybox has no other tools than busybox's."""
    if shutil.which(SHELLS[name][0]) is None:
        pytest.skip(f"{name} is not installed")
    if name != "busybox":
        return SHELLS[name], {"PATH": PATH}
    tools, program = tmp_path / "tools", shutil.which("busybox")
    assert program
    tools.mkdir(exist_ok=True)
    for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if not (tools / applet).exists():
            (tools / applet).symlink_to(program)
    return SHELLS[name], {"PATH": str(tools)}


@contextmanager
def evaluating(name: str, tmp_path: Path, blob: bytes, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a shell evaluate what a host gets, as sshd would have it run."""
    argv, env = shell(name, tmp_path)
    remote = command(len(blob)).replace("exec sh", f"exec {' '.join(argv)}")
    with subprocess.Popen(
        [*argv, "-c", remote],
        env={**env, **more},
        cwd=tmp_path,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(blob)
        try:
            yield process
        finally:
            process.kill()


def evaluated(name: str, tmp_path: Path, blob: bytes, stdin: bytes = b"", **more: str) -> tuple[bytes, bytes, bytes]:
    """Return the first line of the script, and its stdout and stderr from there on."""
    with evaluating(name, tmp_path, blob, **more) as process:
        assert process.stdout
        # Only then comes what is not the shell's, as some read more than they are asked to.
        first = process.stdout.readline()
        return (first, *process.communicate(stdin, timeout=60))


def started(tmp_path: Path, marker: str) -> dict[str, str]:
    limits = steps(StopLimits(eof=2.0, term=1.0, kill=1.0))
    return {"cwd": str(tmp_path), "base": str(tmp_path), "marker": marker, "state": f"s{marker}", **limits}


def lines(data: bytes) -> list[list[str]]:
    return Frames(NONCE).feed(data)[1]


@pytest.mark.parametrize("name", ["dash", *in_soak(["busybox", "bash"])])
def test_values_get_to_an_agent_as_they_are(name: str, tmp_path: Path, marker: str) -> None:
    """R5"""
    dump = (
        "import json, os, sys; json.dump([dict(os.environ), sys.argv[1:], sys.stdin.read(), os.getcwd()], sys.stdout)"
    )
    env = {**HOSTILE, "ALL": ALL_BYTES, "EMPTY": ""}
    words = ["", " ", "a b", "-n", "$(exit 9)", "'", '"', "\\", "*", "\n", "ü€😀", ALL_BYTES]
    blob = message("agent", NONCE, started(tmp_path, marker), [sys.executable, "-I", "-c", dump, *words], env)
    first, said, stderr = evaluated(name, tmp_path, blob, b"the agent's input", weft_nonce="theirs")
    assert lines(first)[0][0] == "started"
    environ, argv, stdin, cwd = json.loads(said)
    assert {key: environ[key] for key in env} == env
    assert (argv, stdin, cwd) == (words, "the agent's input", str(tmp_path))
    assert (environ["WEFT_AGENT"], environ["WEFT_ENGINE_STATE"]) == (marker, f"s{marker}")
    # Nothing of the script's own gets there, but what the login had of that name.
    assert {key for key in environ if key.startswith("weft_")} <= {"weft_nonce"}
    assert lines(stderr) == [["started"], ["exit", "0", ""], ["stage", "eof"], ["gone", ""]]


_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
shell = f"trap '' TERM; sleep {sys.argv[1]} & wait"
subprocess.Popen(["sh", "-c", shell], start_new_session=True, env={"PATH": "/usr/bin:/bin"})
time.sleep(1000)
"""


@pytest.mark.parametrize("name", in_soak(["dash", "busybox", "bash"]))
def test_the_end_of_its_input_ends_the_whole_tree(name: str, tmp_path: Path, marker: str) -> None:
    """P9: also what ignores TERM, is in a session of its own, and has cleared its environment."""
    values = {**started(tmp_path, marker), **steps(StopLimits(eof=0.5, term=0.5, kill=1.0))}
    nap = f"1000.{int(marker[:8], 16)}"
    blob = message("agent", NONCE, values, [sys.executable, "-I", "-c", _STUBBORN, nap])
    _, _, stderr = evaluated(name, tmp_path, blob)
    assert lines(stderr) == [["started"], ["exit", "137", ""], ["stage", "kill"], ["gone", ""]]
    assert [one for one in psutil.process_iter(["cmdline"]) if nap in (one.info["cmdline"] or [])] == []
    assert carriers(marker) == frozenset()


def test_signs_of_life_are_sent_while_an_agent_is_silent(tmp_path: Path, marker: str) -> None:
    """P9: TCP finds out that the other machine is gone only where something is to be sent."""
    values = {**started(tmp_path, marker), "pulse": "0.1"}
    agent = "import sys; sys.stderr.write('agent says '); sys.stderr.flush(); sys.stdin.read(); sys.exit(3)"
    blob, frames = message("agent", NONCE, values, [sys.executable, "-I", "-c", agent]), Frames(NONCE)
    with evaluating("dash", tmp_path, blob) as process:
        assert process.stdout
        assert process.stderr
        assert lines(process.stdout.readline())[0][0] == "started"
        said, found = b"", list[list[str]]()
        while ["beat"] not in found or not said:
            more, told = frames.feed(process.stderr.read(1000))
            said, found = said + more, found + told
        _, rest = process.communicate(timeout=60)
    more, told = frames.feed(rest)
    assert said + more == b"agent says "
    assert next(one for one in told if one not in (["beat"], ["started"]))[:2] == ["exit", "3"]


@pytest.mark.parametrize("name", in_soak(["dash", "busybox", "bash"]))
def test_a_mark_is_ended_from_beside(name: str, tmp_path: Path, marker: str) -> None:
    """P9: what a connection has left is ended by its mark, and counted; what has another mark stays."""
    other = uuid.uuid4().hex
    agents = [
        subprocess.Popen(["sleep", "1000"], env={"PATH": PATH, "WEFT_AGENT": one, "WEFT_ENGINE_STATE": state})
        for one, state in ((marker, f"s{marker}"), (other, f"s{marker}"), (uuid.uuid4().hex, f"t{marker}"))
    ]
    try:
        blob = message("probe", NONCE, {"state": f"s{marker}"}, [f"{tmp_path}/none", str(tmp_path)])
        first, more, _ = evaluated(name, tmp_path, blob)
        memory, count, has = lines(first + more)
        assert has == ["has", "1"]
        assert int(memory[1]) > 1000
        assert count == ["agents", "2"]
        blob = message("end", NONCE, steps(StopLimits(0, 1, 1)), [marked("WEFT_ENGINE_STATE", f"s{marker}")])
        assert lines(evaluated(name, tmp_path, blob)[0]) == [["ended", "2", ""]]
        assert [one.wait(60) for one in agents[:2]] == [-15, -15]
        assert agents[2].poll() is None
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()


@pytest.mark.parametrize("name", in_soak(["dash", "busybox", "bash"]))
def test_a_state_is_ended_but_for_later_runs_and_what_a_bot_runs_on_its_own_machine(
    name: str, tmp_path: Path, marker: str
) -> None:
    """R10, P9: this host may be that machine."""
    state = {"WEFT_ENGINE_STATE": f"s{marker}"}
    marks = [state | {"WEFT_EPOCH": epoch} for epoch in ("9", "", "10", "11")] + [state, {"WEFT_STATE": f"s{marker}"}]
    agents = [subprocess.Popen(["sleep", "1000"], env={"PATH": PATH, "WEFT_AGENT": marker, **one}) for one in marks]
    try:
        values = {"spare_from": "10", **steps(StopLimits(0, 1, 1))}
        blob = message("end", NONCE, values, [marked("WEFT_ENGINE_STATE", f"s{marker}")])
        assert lines(evaluated(name, tmp_path, blob)[0])[0][0::2] == ["ended", ""]
        assert [agents[number].wait(60) for number in (0, 1, 4)] == [-15] * 3
        assert [agents[number].poll() for number in (2, 3, 5)] == [None] * 3
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()


@pytest.mark.parametrize(
    ("base", "cwd", "program", "said"),
    [
        ("nowhere", "nowhere/7", "true", ["failed", "directory"]),
        ("", "made/for/7", "/nowhere/agent", ["failed", "missing"]),
        ("", "", "no-such-agent", ["failed", "missing"]),
        ("", "", "/etc/passwd", ["failed", "forbidden"]),
    ],
)
def test_a_start_that_can_not_be_is_told(
    base: str, cwd: str, program: str, said: list[str], tmp_path: Path, marker: str
) -> None:
    """P6: with what is missing; a directory that somebody has to have made is not made."""
    values = {**started(tmp_path, marker), "base": str(tmp_path / base), "cwd": str(tmp_path / cwd)}
    first, _, _ = evaluated("dash", tmp_path, message("agent", NONCE, values, [program]))
    assert lines(first)[0][:2] == said
    assert not (tmp_path / "nowhere").exists()


def test_the_doctor_hears_of_what_is_missing(tmp_path: Path) -> None:
    """P14"""
    closed = ["/proc", "sh", str(tmp_path / "nowhere"), "no-such-agent", str(tmp_path), "sh"]
    first, more, _ = evaluated("dash", tmp_path, message("check", NONCE, {"state": "none"}, closed))
    answer = lines(first + more)
    assert ["directory", "missing", str(tmp_path / "nowhere")] in answer
    assert ["program", "no-such-agent"] in answer
    assert answer[-1] == ["checked"]


@pytest.mark.parametrize(
    ("directory", "thread", "base"),
    [
        ("/srv/work/77", "77", "/srv/work"),
        ("/srv/work/t-77/src", "77", "/srv/work"),
        ("/srv/work", "77", "/srv/work"),
        ("/77", "77", "/"),
        ("/srv/work", "", "/srv/work"),
        ("/srv/1770/77", "77", "/srv/1770"),
        ("/srv/work0", "0", "/srv/work0"),
    ],
)
def test_only_a_threads_own_part_of_a_path_is_made(directory: str, thread: str, base: str) -> None:
    """P14"""
    assert shared_part(directory, thread) == base


@pytest.mark.parametrize(("name", "value"), [("A-B", "x"), ("A B", "x"), ("", "x"), ("A=B", "x"), ("A", "x\0y")])
def test_what_no_shell_takes_is_refused(name: str, value: str) -> None:
    """P14"""
    with pytest.raises(ValueError, match="variable"):
        message("agent", NONCE, {}, ["true"], {name: value})


@pytest.mark.parametrize("value", ["", "a b", "a\\n", "$(x)", "'"])
def test_a_mark_is_a_plain_word(value: str) -> None:
    """P9, P14"""
    with pytest.raises(ValueError, match="mark"):
        marked("WEFT_STATE", value)


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\x1e", b"\x1e0123", b"\n"])), max_size=8), st.data()
)
def test_lines_are_taken_out_wherever_the_pieces_end(texts: list[bytes], data: st.DataObject) -> None:
    """P14: what is the agent's comes through whole and in order, whatever it is; a login's words do not."""
    begin = b"\x1e" + NONCE.encode() + b" "
    if begin in b"".join(texts):
        return
    stream, expected = b"", 0
    for text in texts:
        stream += text + begin + b"exit 3 \n"
        expected += 1
    early = data.draw(st.booleans())
    if early:
        stream, expected = b"Authorised use only.\n" + begin + b"started\n" + stream, expected + 1
    frames, plain, found = Frames(NONCE, behind=early), b"", 0
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        piece, told = frames.feed(stream[:size])
        plain, found, stream = plain + piece, found + len(told), stream[size:]
    assert (plain + frames.rest(), found) == (b"".join(texts), expected)
