"""What the demo agent does with a prompt: scenes, written as generators of steps.

A scene decides what to show and does the little real work there is (looking into its directory, writing one file).
Sending, pausing and cancelling belong to `agent_turn`, which runs the steps and sends the answer of an `Ask` back in.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.demo.agent_texts import BREAD, HOSTILE, LONG_LINE

JSON = dict[str, Any]

PLAN = """## What I will do

1. **Look** at the working directory.
2. **Write** `weft-demo.txt`, with what you asked for.
3. **Answer** with a summary.

```python
note = directory / "weft-demo.txt"
note.write_text(request)
```

Nothing else is touched."""

DANGEROUS = "rm -rf build && git push --force origin main"
FILE_NAME, PICTURE_NAME, EDITED_NAME = "weft-demo.txt", "picture.png", "greeting.py"
GREETING = re.compile(r'^GREETING = ".*"$', re.MULTILINE)
SHOWN_ENTRIES = 20
ALLOW_ONCE, ALLOW_ALWAYS, REJECT = "allow_once", "allow_always", "reject_once"
OPTIONS = (
    {"optionId": ALLOW_ONCE, "name": "Allow once", "kind": ALLOW_ONCE},
    {"optionId": ALLOW_ALWAYS, "name": "Always allow in this session", "kind": ALLOW_ALWAYS},
    {"optionId": REJECT, "name": "Reject", "kind": REJECT},
)


@dataclass(frozen=True, slots=True)
class Say:
    """Stream a text of the answer as its own message, in at most ``chunks`` pieces."""

    text: str
    chunks: int = 200


@dataclass(frozen=True, slots=True)
class Think:
    """Stream a thought."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """Send an update as it is."""

    update: JSON


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so many seconds, at the demo's pace."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for permission; the step's value is the id of the option that was chosen."""

    tool_call: JSON


@dataclass(frozen=True, slots=True)
class Question:
    """Ask a person to fill in a form; the step's value is the answer as JSON, nothing if there was none."""

    message: str
    properties: JSON
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spend:
    """Let the turn cost so many dollars more, which are invented."""

    dollars: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer the prompt with an error."""

    message: str


@dataclass(frozen=True, slots=True)
class Crash:
    """End the process in the middle of the turn."""

    code: int


Step = Say | Think | Show | Pause | Ask | Question | Spend | Fail | Crash
Scene = Generator[Step, str, None]


@dataclass(frozen=True, slots=True)
class Brought:
    """What comes with a prompt: a line for each file, and the folder for files that go back."""

    files: tuple[str, ...] = ()
    folder: str = ".weft/out"


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt as a scene sees it: ``turn`` makes its tool ids unique, ``rest`` is what follows the keyword."""

    text: str
    cwd: Path
    turn: str
    trusted: bool = False
    brought: Brought = Brought()
    rest: str = ""

    @property
    def words(self) -> str:
        """What a person wrote, without the quotes that Weft adds, such as a post's title, below their headlines."""
        return self.text.partition("\n\n[")[0]


def scene_for(request: Request) -> Scene:
    """Return the scene that the first line with a keyword asks for, else the one that shows everything."""
    for line in request.text.splitlines():
        # Several people's messages in one prompt come as "name: text".
        for words in (line, re.sub(r"^\s*[^\s:]+:\s+", "", line)):
            found = re.match(r"\s*/?([a-z]+)\b[\s:,]*(.*)", words, re.IGNORECASE)
            # The first line with a keyword, not the first line: people begin with a greeting.
            if found and (scene := SCENES.get(found[1].lower())):
                return scene(replace(request, rest=found[2].strip()))
    return everything(request)


def everything(request: Request) -> Scene:
    """Thought, plan, a tool that reads, a tool that asks and writes, text."""
    yield Think("A request. I'll look around first, then write a note, then answer.")
    yield _plan(0)
    yield Say("I'll have a look around.\n")
    entries = yield from _list_directory(request)
    yield _plan(1)
    written = yield from _write_note(request)
    yield _plan(2)
    yield Say(_summary(request, entries, written))
    yield _plan(3)


def say(request: Request) -> Scene:
    """Repeat the words after ``say``; quick, with one tool that asks for nothing."""
    yield Think("Just say it.")
    yield from _list_directory(request)
    yield Say(request.rest or "What shall I say?", chunks=25)


def question(_: Request) -> Scene:
    """Ask something: first a choice, then a form."""
    colours = [
        {"const": "red", "title": "Red", "description": "like fire"},
        {"const": "green", "title": "Green", "description": "like moss"},
        {"const": "blue", "title": "Blue", "description": "like the sea"},
    ]
    first: JSON = {
        "colour": {"type": "string", "title": "Colour", "oneOf": colours},
        "other": {"type": "string", "title": "Other", "description": "Type another colour."},
    }
    answer = yield Question("Which colour shall the button have?", first)
    chosen = json.loads(answer) if answer else None
    if chosen is None:
        yield Say("Then I leave the button as it is.")
        return
    # What was typed goes before what was pressed: only who wants neither of the colours types.
    yield Say(f"**{chosen.get('other') or chosen.get('colour') or 'No'}** it is. One more thing.\n")
    form: JSON = {
        "name": {"type": "string", "title": "Name", "minLength": 2, "maxLength": 40, "default": "Send"},
        "width": {"type": "integer", "title": "Width", "minimum": 20, "maximum": 400, "default": 120},
        "rounded": {"type": "boolean", "title": "Round corners", "default": True},
        "pages": {
            "type": "array",
            "title": "Pages",
            "description": "Where it is shown.",
            "items": {"type": "string", "enum": ["start", "search", "settings"]},
            "minItems": 1,
            "default": ["start"],
        },
    }
    answer = yield Question("And how shall it look?", form, ("name", "width"))
    filled = json.loads(answer) if answer else {}
    lines = [f"- {form[key]['title']}: `{_in_words(value)}`" for key, value in filled.items() if key in form]
    yield Say("\n".join(["You want a button with", *lines]) if lines else "Then I choose that myself.")


def _in_words(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def propose(request: Request) -> Scene:
    """Show a plan and ask to carry it out."""
    call: JSON = {
        "toolCallId": f"{request.turn}-plan",
        "title": "Ready to write?",
        "kind": "switch_mode",
        "status": "pending",
    }
    call |= {"content": [_content(PLAN)], "rawInput": {"plan": PLAN}}
    yield Show({"sessionUpdate": "tool_call", **call})
    chosen = yield Ask(call)
    allowed = chosen in (ALLOW_ONCE, ALLOW_ALWAYS)
    yield _change(f"{request.turn}-plan", status="completed" if allowed else "failed")
    yield Say("I would begin now, if this were not a demo." if allowed else "I keep planning, then.")


def plan(_: Request) -> Scene:
    """Work through a plan."""
    for done in range(4):
        yield _plan(done)
        yield Pause(2.0)  # long enough to open the thread and see the next one ticked off
    yield Say("The plan is done: looked around, wrote nothing, answered.")


def tools(request: Request) -> Scene:
    """Run a tool and say nothing, as real agents sometimes do."""
    yield from _list_directory(request)


def write(request: Request) -> Scene:
    """Ask, and write the file if allowed."""
    written = yield from _write_note(request)
    yield Say(f"{written}.")


def edit(request: Request) -> Scene:
    """Ask, and change the greeting of the project to the words that follow; `/diff` shows it, `/merge` keeps it."""
    path = request.cwd / EDITED_NAME
    old = path.read_text(errors="replace") if path.is_file() else 'GREETING = ""\n'
    line = f"GREETING = {json.dumps(request.rest or 'Good morning', ensure_ascii=False)}"
    # By a function: what a person wrote is no pattern of `re`.
    written = yield from _write(request, EDITED_NAME, GREETING.sub(lambda _: line, old, count=1))
    yield Say(f"{written}.")


def run(request: Request) -> Scene:
    """Ask to run a command, a dangerous one if none is given; a demo runs nothing."""
    command, tool_id = request.rest or DANGEROUS, f"{request.turn}-run"
    call: JSON = {"toolCallId": tool_id, "title": "Run a command", "kind": "execute", "status": "pending"}
    call["rawInput"] = {"command": command, "cwd": str(request.cwd)}
    yield Show({"sessionUpdate": "tool_call", **call})
    allowed = (yield Ask(call)) in (ALLOW_ONCE, ALLOW_ALWAYS)
    yield _change(tool_id, status="completed" if allowed else "failed")
    # Not even what was allowed: a rule that somebody tries out would run it unseen.
    yield Say("I would run it now, if this were not a demo." if allowed else "Then I leave it.")


def draw(request: Request) -> Scene:
    """Draw a picture and hand it out."""
    folder = request.cwd / request.brought.folder
    folder.mkdir(parents=True, exist_ok=True)
    # Made here: a file in the package would be in every wheel.
    (folder / PICTURE_NAME).write_bytes(_picture(320, 200))
    yield Say("I drew this for you.")


def files(request: Request) -> Scene:
    """Say which files came with the message."""
    lines = [f"- {line}" for line in request.brought.files]
    yield Say("\n".join(["I got these files:", *lines]) if lines else "No file came with your message.")


def long(_: Request) -> Scene:
    """Answer at a length that needs several messages, with code and a table."""
    yield Say("".join(_chapter(number) for number in range(1, 13)))


def wait(request: Request) -> Scene:
    """Be silent for some seconds: 30, or the number given; something to stop."""
    found = re.match(r"\d{1,4}", request.rest)
    yield Say("Waiting. Stop me, or let me finish.\n")
    yield Pause(float(found[0]) if found else 30.0)
    yield Say("Done waiting.")


def story(_: Request) -> Scene:
    """Answer slowly, step by step; something to read along, and to stop."""
    for number, step in enumerate(BREAD, 1):
        yield Say(f"{number}. {step}\n")
        yield Pause(0.4)
    yield Say("\nThat is a loaf of bread.")


def spend(request: Request) -> Scene:
    """Spend invented money: 0.60 dollars, or the number given, for the budget to notice."""
    found = re.match(r"\d{1,4}(\.\d{1,2})?", request.rest)
    dollars = float(found[0]) if found else 0.6
    yield Spend(dollars)
    yield Say(f"That was ${dollars:.2f} of nobody's money.")


def hostile(_: Request) -> Scene:
    """Answer with what must do no harm to whoever shows it: scripts, strange links, a very long line."""
    yield Show({"sessionUpdate": "session_info_update", "title": "<img src=x onerror=alert(1)> @everyone"})
    for part in HOSTILE:
        yield Say(part)
    yield Say("x" * LONG_LINE + "\n")
    yield Say("The end of what is hostile.")


def fail(_: Request) -> Scene:
    """Say half of something, then fail."""
    yield Say("This will not end ")
    yield Fail("the model is not available")


def crash(_: Request) -> Scene:
    """Say half of something, then die."""
    yield Say("My last words were ")
    yield Crash(3)


def usage(_: Request) -> Scene:
    """List the keywords."""
    lines = [f"- `{name}`: {about}" for name, about in summaries().items()]
    yield Say("\n".join(["Begin a message with one of these, or with anything else to see everything.", *lines]))


SCENES: dict[str, Callable[[Request], Scene]] = {
    "say": say,
    "plan": plan,
    "propose": propose,
    "question": question,
    "tools": tools,
    "write": write,
    "edit": edit,
    "run": run,
    "draw": draw,
    "files": files,
    "long": long,
    "story": story,
    "wait": wait,
    "spend": spend,
    "hostile": hostile,
    "fail": fail,
    "crash": crash,
    "help": usage,
}


def summaries() -> dict[str, str]:
    """Return the keywords, each with a sentence on its scene."""
    return {name: (scene.__doc__ or "").splitlines()[0] for name, scene in SCENES.items()}


def _plan(done: int) -> Show:
    steps = ("Look into the working directory", f"Write {FILE_NAME}", "Answer")
    states = ["completed"] * done + ["in_progress"] + ["pending"] * len(steps)
    entries = [
        {"content": step, "priority": "medium", "status": state} for step, state in zip(steps, states, strict=False)
    ]
    return Show({"sessionUpdate": "plan", "entries": entries})


def _change(tool_id: str, **fields: Any) -> Show:
    return Show({"sessionUpdate": "tool_call_update", "toolCallId": tool_id, **fields})


def _content(text: str) -> JSON:
    return {"type": "content", "content": {"type": "text", "text": text}}


def _list_directory(request: Request) -> Generator[Step, str, list[str]]:
    tool_id = f"{request.turn}-list"
    call = {"toolCallId": tool_id, "title": "List the working directory", "kind": "read", "status": "in_progress"}
    yield Show({"sessionUpdate": "tool_call", **call, "locations": [{"path": str(request.cwd)}]})
    yield Pause(0.3)
    entries = sorted(f"{path.name}/" if path.is_dir() else path.name for path in request.cwd.iterdir())
    more = [f"... and {len(entries) - SHOWN_ENTRIES} more"] if len(entries) > SHOWN_ENTRIES else []
    shown = "\n".join(entries[:SHOWN_ENTRIES] + more) or "(empty)"
    yield _change(tool_id, status="completed", content=[_content(shown)], rawOutput={"entries": len(entries)})
    return entries


def _write_note(request: Request) -> Generator[Step, str, str]:
    path = request.cwd / FILE_NAME
    old = path.read_text(errors="replace") if path.is_file() else ""
    return (yield from _write(request, FILE_NAME, f"{old}{request.words}\n"))


def _write(request: Request, name: str, new: str) -> Generator[Step, str, str]:
    """Write a file if allowed; return a sentence, without its full stop, that says what came of it."""
    path, tool_id = request.cwd / name, f"{request.turn}-write"
    old = path.read_text(errors="replace") if path.is_file() else None
    diff = {"type": "diff", "path": str(path), "oldText": old, "newText": new}
    call: dict[str, Any] = {"toolCallId": tool_id, "title": f"Write {name}", "kind": "edit", "status": "pending"}
    call |= {"content": [diff], "locations": [{"path": str(path)}]}
    yield Show({"sessionUpdate": "tool_call", **call})
    chosen = ALLOW_ALWAYS if request.trusted else (yield Ask(call))
    # Anything else is a no, a cancelled request and an option that nobody offered among them.
    if chosen not in (ALLOW_ONCE, ALLOW_ALWAYS):
        yield _change(tool_id, status="failed")
        return f"I did not write `{name}`, since I was not allowed to"
    yield _change(tool_id, status="in_progress")
    yield Pause(0.3)
    # The words are a person's, and may hold halves of surrogate pairs.
    path.write_text(new, encoding="utf-8", errors="replace")
    yield _change(tool_id, status="completed", content=[diff])
    return f"I wrote `{name}`"


def _summary(request: Request, entries: list[str], written: str) -> str:
    quoted = "\n".join(f"> {line}" for line in request.words.splitlines())
    size = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    return (
        f"You wrote:\n{quoted}\n\n"
        f"The working directory has **{size}**. {written}.\n\n"
        "I am Weft's demo agent: no model, no account, no network. Say `help` to see what I can do."
    )


def _picture(width: int, height: int) -> bytes:
    """Return a PNG in which colours run from corner to corner."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (
        b"\0" + b"".join(bytes((255 * x // width, 255 * y // height, 160)) for x in range(width)) for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chapter(number: int) -> str:
    sentence = (
        f"This is sentence {{}} of part {number}, here to fill a message until it has to be continued in the next. "
    )
    return (
        f"## Part {number}\n\n{''.join(sentence.format(count) for count in range(1, 6))}\n\n"
        f"```python\ndef part_{number}() -> int:\n    return {number}\n```\n\n"
        f"| part | square |\n| --- | --- |\n| {number} | {number**2} |\n\n"
    )
