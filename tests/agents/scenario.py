"""Scenarios for the scripted agent: writes one, names the command that plays it, and reads the log it leaves.

`offers` has what real agents offer, `behaviours` their turns. Keys of a scenario:
    turns       a list of lists of steps; the last repeats; without turns each prompt is echoed
    words       {word: steps}: the first word that a prompt has wins over ``turns``
    counter     "process", or "log": turns are counted over all processes of the scenario
    behaviour   plain, opencode, claude, codex, gemini: what happens around the steps (ids, cancel, errors, greetings,
                a second prompt)
    second      what a prompt does while another one of its session runs, if not what the behaviour says: "overlaps",
                "queues", "merges" (after the rest; both are answered together at the end), "cancels" (the first)
    steering    true; "detached" (begins a turn that nobody prompted when none runs, although asked not to); absent: not
                offered. What is put into a turn is played like a prompt, instead of the rest of the turn
    fork        true, "fails", "replay" (history comes before the answer); absent: not offered
    close       true; absent: not offered
    delete      true; absent: not offered
    list        true, or the size of a page of session/list; absent: not offered
    listed      entries of session/list beside the sessions of this scenario
    store       a directory in which sessions survive: another process of the scenario can load, resume, fork and list
                them, and replays what was said. Without it any id can be loaded, and replays ``history``
    titles      how a session gets its title, which is its first prompt: "prompt" (an update as the turn begins), "late"
                (one 20 ms after the response), "listed" (in session/list only); absent: it has none
    options     config options as in the protocol, a copy for each session; booleans for clients that announce them.
                What is malformed or of an unknown type goes out as it stands
    modes, models   states as in the protocol, for session/set_mode and session/set_model
    refuses     {option id, "id=value", "mode" or "model": error object}
    commands    available commands as in the protocol, told after each opening; a prompt ``/name rest`` that begins with
                one plays the steps of ``slash``, {name: steps} with "{rest}", or says both
    auth        {methods, required (true), answer ("ok" or an error object), logout, file}: what needs a session is
                refused until authenticate; with a file, while it is not there, over all processes
    spend       what each turn reports at its end, as the step
    gates       {method: path}: answered once that file is there; other requests are answered meanwhile
    agent       capabilities that replace the agent's own
    answers     {method: {"result": ...} or {"error": ...}} for any other request
    load        "ok", "unknown", "replay_after" (the replay follows the response); absent: not offered
    resume      true, "unknown"; absent: not offered
    history     [[role, text], ...], what load replays
    start       hang (a method never answered), gate (a file that initialize waits for), exit, stderr, noise (lines),
                noise_bytes, auth_required, protocolVersion, ignore_eof, ignore_term, answers (as above); first: n
                limits all of these to the first n processes, after: n leaves the first n out

Steps, named by their first key:
    text, thought, echo   with chunks, repeat (-1: until cancelled), delay, id (the messageId; None: without)
    tool                  {id, title, kind, input, locations, output, diff ({path, oldText, newText}), content, status}
    plan                  [[text, status], ...]: the complete list
    title                 the session's title, None takes it away; late: seconds after the response
    spend                 {used, cost (added up over the session), currency, response (the answer's ``usage``)}
    set                   {option id: value}: options that change by themselves; "mode" where there are modes only
    update                a raw update
    permission            {tool, options}; then: {option id, "cancelled", "error" or "*": steps}; wait: false goes on
    elicit                {message, requestedSchema, mode, url, elicitationId}; then: {action, "error" or "*": steps},
                          where "{answer}" stands for the answer as JSON; without then it is said; wait: false goes on
    call                  {tool ("": the names of all), arguments, servers (instead of those that the session was given;
                          a path: what stands in that file), sdk (true: by the official SDK through the server, as
                          always for the names; else straight at the bot's socket)}: calls a tool of the session's first
                          MCP server, and logs a ``tool_answer``; then: {"ok", "error" or "*": steps}, where "{result}"
                          stands for its text; without then that is said; wait: false goes on. A cancel withdraws it
    complete              the id of a page that is done
    request               {method, params}; wait: false goes on
    respond, error        the prompt's answer (id answers another one); the steps after it are outside the turn
    late                  [[seconds after the response, update], ...]
    pause, wait_file, mark (a line in the log), hang (with ignore_cancel)
    ignore_cancel, on_cancel (the result after a cancel)
    exit, kill, stderr (with times)
    raw                   a line as it is, but $SESSION is the session's id (with times, end, base64)
    flood                 chunks of so many characters, encoded once (with times, text)
    deaf                  true: reads its input no more
    files                 {path: base64}; {out} in a path is where the prompt said that files for people go
    python                code, with that directory as ``out``
    spawn_shell           a command in a session of its own, logged as ``spawned``; with holds_stdout
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

Step = dict[str, Any]
Entry = dict[str, Any]

SCRIPT = Path(__file__).with_name("player.py")
# Isolated and without site-packages: the agent needs nothing of ours and starts in a fraction of the time.
COMMAND = (sys.executable, "-I", "-S", str(SCRIPT))
POLL = 0.01  # seconds between two looks at the log


@dataclass(frozen=True, slots=True)
class ScriptedAgent:
    """A scenario on disk: the command that plays it, and what its processes have logged."""

    argv: tuple[str, ...]
    log_path: Path

    def log(self) -> list[Entry]:
        """Return everything logged so far by all processes of this scenario, oldest first."""
        if not self.log_path.exists():
            return []
        # A line that is still being written has no newline yet.
        return [json.loads(line) for line in self.log_path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def events(self, event: str) -> list[Entry]:
        """Return the entries of one kind: start, received, responded, answer, turn, mark, spawned, eof."""
        return [entry for entry in self.log() if entry["event"] == event]

    def received(self, method: str) -> list[Entry]:
        """Return the messages of this method as the agent read them."""
        messages = (entry["message"] for entry in self.events("received"))
        return [message for message in messages if message.get("method") == method]

    def prompts(self) -> list[str]:
        """Return the text of every prompt, in order."""
        return [prompt_text(message) for message in self.received("session/prompt")]

    def pids(self) -> list[int]:
        """Return the process ids in order of start."""
        return [entry["pid"] for entry in self.events("start")]

    def marks(self) -> list[str]:
        """Return the names of the ``mark`` steps reached."""
        return [entry["name"] for entry in self.events("mark")]

    async def seen(self, event: str, count: int = 1) -> list[Entry]:
        """Wait until so many entries of a kind are logged; the caller bounds the wait."""
        return await _enough(lambda: self.events(event), count)

    async def heard(self, method: str, count: int = 1) -> list[Entry]:
        """Wait until so many messages of a method have reached the agent; the caller bounds the wait."""
        return await _enough(lambda: self.received(method), count)


async def _enough(look: Callable[[], list[Entry]], count: int) -> list[Entry]:
    # Another process writes the log, so there is no event to wait for.
    while len(found := look()) < count:  # noqa: ASYNC110
        await anyio.sleep(POLL)
    return found


def prompt_text(message: Entry) -> str:
    """Return the text blocks of a session/prompt message, joined, without what Weft tells agents of itself."""
    texts = (block.get("text", "") for block in message["params"]["prompt"])
    return "".join(text for text in texts if not text.startswith("[From Weft"))


def scenario(directory: Path, *turns: Sequence[Mapping[str, Any]], **keys: Any) -> ScriptedAgent:
    """Write a scenario into a directory and return the agent that plays it.

    Without turns the agent echoes each prompt.
    """
    number = next(number for number in itertools.count() if not (directory / f"scenario-{number}.json").exists())
    path, log_path = directory / f"scenario-{number}.json", directory / f"scenario-{number}.log"
    path.write_text(json.dumps({"turns": [list(steps) for steps in turns], "log": str(log_path), **keys}))
    return ScriptedAgent((*COMMAND, str(path)), log_path)


@dataclass(frozen=True, slots=True)
class Gate:
    """A file that holds a turn or a start up until the test opens it."""

    path: Path

    @property
    def step(self) -> Step:
        """The step that waits here."""
        return {"wait_file": str(self.path)}

    @property
    def start(self) -> Step:
        """The ``start`` that waits here."""
        return {"gate": str(self.path)}

    def open(self) -> None:
        """Let the turn, or the start, go on."""
        self.path.touch()


def alive(pid: int) -> bool:
    """Say whether a process runs; one that is dead and not yet reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def allow_options(*names_and_kinds: tuple[str, str]) -> list[Step]:
    """Return permission options from (option id, kind) pairs."""
    return [{"optionId": name, "name": name, "kind": kind} for name, kind in names_and_kinds]


def text_update(text: str, message_id: str | None = None) -> Step:
    """Return the update that carries one chunk of answer."""
    update: Step = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    return update if message_id is None else {**update, "messageId": message_id}


def usage_update(used: int = 12_000, size: int = 200_000, cost: float | None = None) -> Step:
    """Return the update that tells how full the context is and what the session has cost."""
    update: Step = {"sessionUpdate": "usage_update", "used": used, "size": size}
    return update if cost is None else {**update, "cost": {"amount": cost, "currency": "USD"}}
