"""What a permission request asks for, in full, as parts to show or to attach (pure).

It is made from the tool call as the agent sent it, so that what the protocol does not know is there, too. Nothing is
left out but what the protocol keeps for itself: ids, states, `_meta`. How much of it stands in the message and how
characters are shown is decided in `bot.reply.cards`.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from bot.reply.sanitise import inline_code, one_line, spelled, units
from bot.reply.tools import COMPARISONS, comparison_cost

_COMMAND_KEYS = ("command", "cmd", "script")
_ESCAPES = {f"\\u{code:04x}": f"<U+{code:04X}>" for code in range(0x20)}
_ESCAPES |= {"\\b": "<U+0008>", "\\f": "<U+000C>", "\\r": "<U+000D>"}
_OF_THE_PROTOCOL = ("toolCallId", "status", "sessionUpdate", "_meta")
_DIRECTORY_KEYS = ("cwd", "workdir")
_CONTEXT = 3
_LONG = 40

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the detail.

    Attributes:
        short: what stands for ``text`` in a message that has no room for it; nothing that is to be decided is missing.
        file: the name of the file if this part is all that is in it.
    """

    name: str
    text: str
    language: str = ""
    short: str = ""
    file: str = "request.txt"


def is_short_line(text: str, limit: int) -> bool:
    """Return whether ``text`` is one line that fits."""
    if len(text) > limit:
        return False
    line = spelled(text).strip(" ")
    return line == one_line(line) and units(line) <= limit


def shown_inline(text: str, limit: int) -> bool:
    """Return whether `inline()` shows ``text`` as it is: backticks, which can run a command, can't stand in there."""
    return "`" not in text and is_short_line(text, limit)


def inline(text: str, limit: int) -> str:
    """Return the beginning of ``text`` as inline code, with what can't be seen written out."""
    return inline_code(spelled(text[: 16 * limit]), limit)


def one_row(text: str) -> str:
    """Return ``text`` as one line that says where it has more."""
    return spelled(text).replace("\n", "<U+000A>")


def paths_of(call: Json) -> tuple[list[tuple[str, int | None]], list[Any]]:
    """Return the places (path, line) that a tool call and its diffs name, and the locations that are none."""
    locations = call.get("locations")
    listed = locations if isinstance(locations, list) else []
    plain = [place for place in listed if _is_place(place)]
    paths = [(place["path"], place.get("line")) for place in plain]
    paths += [(diff["path"], None) for diff in _content(call) if _is_diff(diff) and diff.get("path")]
    odd = [place for place in listed if not _is_place(place)]
    odd += [locations] if locations and not isinstance(locations, list) else []
    return list(dict.fromkeys(paths)), odd


def parts_of(call: Json, *, headline: Iterable[str] = (), places_shown: bool = False) -> list[Part]:
    """Return all that a tool call says, the weightiest first.

    Args:
        call: the JSON object as it came.
        headline: keys whose values the card shows in full above.
        places_shown: so are the places.
    """
    rest = {
        key: value for key, value in call.items() if key not in _OF_THE_PROTOCOL and value not in (None, "", [], {})
    }
    # What is taken out here is shown elsewhere; whatever is left at the end stands under "More".
    for key in headline:
        rest.pop(key, None)
    diffs = [item for item in _content(call) if _is_diff(item)]
    texts, others = _texts_and_others(_content(call))
    if isinstance(rest.get("content"), list):
        del rest["content"]
    inputs = _input_parts(rest.pop("rawInput", None), _sides_of(diffs))
    # A command is what decides; without one, the change is what people can read best.
    seen_best = [*_changes(diffs), *(Part("Text", text) for text in texts)]
    parts = [*inputs, *seen_best] if inputs[0].name == "Command" else [*seen_best, *inputs]
    if isinstance(rest.get("title"), str):
        parts.append(Part("Title", rest.pop("title")))
    paths, odd = paths_of(call)
    rest.pop("locations", None)
    if paths and not places_shown:
        rows = (one_row(path) if line is None else f"{one_row(path)}:{line}" for path, line in paths)
        parts.append(Part("Places", "\n".join(rows)))
    more = rest | ({"content": others} if others else {}) | ({"locations": odd} if odd else {})
    parts += [Part("More", json_text(more))] if more else []
    # Each text once: agents put the command into title and content, too.
    kept: dict[str, Part] = {}
    for part in parts:
        if part.text.strip(" \t\n"):
            # What is to be done is another thing with backticks; around what is said of it they are Markdown.
            kept.setdefault(part.text.strip(" \n" if part.name == "Input" else "` \n"), part)
    return list(kept.values())


# --- the input ---------------------------------------------------------------------------------------------------


def _sides_of(diffs: list[Json]) -> dict[str, str]:
    """Return what stands for the texts of a change, which an agent's input has once more.

    Each by its side, as what is taken away must not pass for what comes; of several changes nobody could say whose.
    """
    if len(diffs) != 1:
        return {}
    sides = {
        diffs[0].get("oldText"): "(the old text of the change)",
        diffs[0]["newText"]: "(the new text of the change)",
    }
    return {text: name for text, name in sides.items() if isinstance(text, str) and len(text) > _LONG}


def _input_parts(raw: Any, shown: dict[str, str]) -> list[Part]:
    """Return the command by itself, and all that stands beside it: what a command does depends on it.

    ``shown``: what stands for texts that the card has elsewhere.
    """
    if not isinstance(raw, dict):
        return [Part("Input", raw if isinstance(raw, str) else input_text(raw))]
    key = command_key(raw)
    beside = {name: value for name, value in raw.items() if name != key}
    # An agent's input has the texts of the change once more; short ones are shown, as they may mean something else.
    beside |= {name: shown[value] for name, value in beside.items() if isinstance(value, str) and value in shown}
    if key is None:
        return [Part("Input", input_text(beside))]
    # Above the command only if it is nothing but a path: a line break in it could pass for a part of the command.
    directory = next(
        (
            name
            for name, value in ((name, beside.get(name)) for name in _DIRECTORY_KEYS)
            if isinstance(value, str) and value and spelled(value) == value == one_line(value)
        ),
        None,
    )
    where = f"# in {beside.pop(directory)}\n" if directory else ""
    command = Part("Command", where + (command_of(raw) or ""), "sh", file="command.txt")
    return [command, Part("Input", input_text(beside))]


# --- the content -------------------------------------------------------------------------------------------------


def _content(call: Json) -> list[Any]:
    content = call.get("content")
    return content if isinstance(content, list) else []


def _is_place(place: Any) -> bool:
    # With a field that we don't know it is more than a place: it is shown as it came.
    known = (
        isinstance(place, dict) and isinstance(place.get("path"), str) and not place.keys() - {"path", "line", "_meta"}
    )
    return known and (place.get("line") is None or type(place.get("line")) is int)


def _is_diff(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("type") != "diff" or not isinstance(item.get("newText"), str):
        return False
    return all(item.get(key) is None or isinstance(item[key], str) for key in ("path", "oldText"))


def _texts_and_others(content: list[Any]) -> tuple[list[str], list[Any]]:
    """Return the plain texts of a tool call's content, and what is neither text nor diff, as it came."""
    texts, others = [], []
    for item in content:
        block = item.get("content") if isinstance(item, dict) and item.get("type") == "content" else None
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
            beside = _beside(block, "type", "text") | _beside(item, "type", "content")
            others += [beside] if beside else []
        elif _is_diff(item):
            beside = _beside(item, "type", "path", "oldText", "newText")
            others += [beside] if beside else []
        else:
            others.append(item)
    return texts, others


def _beside(item: Json, *known: str) -> Json:
    return {key: value for key, value in item.items() if key not in (*known, "_meta") and value is not None}


# --- changes -----------------------------------------------------------------------------------------------------


def _changes(diffs: list[Json]) -> list[Part]:
    """Return all changes with all their lines; ``short`` leaves unchanged lines out where there are many."""
    whole, short, room = [], [], COMPARISONS
    for diff in diffs:
        old, new = diff.get("oldText"), diff["newText"]
        # All threads wait meanwhile, so what may be compared is limited for the card as a whole.
        compared = (cost := comparison_cost(old, new)) <= room
        room -= int(cost) if compared else 0
        lines = _change(one_row(diff.get("path") or "?"), old, new, compared=compared)
        whole.append("\n".join(lines))
        short.append("\n".join(_folded(lines)) if compared else "")
    if not whole:
        return []
    text, folded = "\n".join(whole), "\n".join(few or all_ for few, all_ in zip(short, whole, strict=True))
    return [Part("Change", text, "diff", short=folded if folded != text else "", file="change.diff")]


def _change(path: str, old: str | None, new: str, *, compared: bool) -> list[str]:
    """Return a unified diff with all unchanged lines; uncompared, all old lines go and all new ones come."""
    source = "/dev/null" if old is None else path
    if not compared:
        return [f"--- {source}", f"+++ {path}", *_marked("-", old or ""), *_marked("+", new)]
    # With what can't be seen written out, so that no carriage return or U+2028 ends a line.
    before, after = (spelled(text).removesuffix("\n").split("\n") if text else [] for text in (old or "", new))
    if before == after:
        return [f"--- {source}", f"+++ {path}", *(f" {line}" for line in before)]
    return list(difflib.unified_diff(before, after, source, path, lineterm="", n=max(len(before), len(after))))


def _marked(sign: str, text: str) -> list[str]:
    return [sign + text.removesuffix("\n").replace("\n", f"\n{sign}")] if text else []


def _folded(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a diff without those that are far from every change; they are counted."""
    runs = [(unchanged, list(run)) for unchanged, run in groupby(lines, key=lambda line: line.startswith(" "))]
    for number, (unchanged, run) in enumerate(runs):
        before = _CONTEXT if number > 1 else 0  # the first run is the head of the diff
        after = _CONTEXT if number < len(runs) - 1 else 0
        left_out = len(run) - before - after
        if unchanged and left_out > 1:
            yield from run[:before]
            yield f"… {left_out:,} unchanged lines …"
            yield from run[len(run) - after :]
        else:
            yield from run


# --- an agent's values as text ---------------------------------------------------------------------------------


def command_of(raw_input: Any) -> str | None:
    """Return the command line in a tool call's input, if there is one."""
    key = command_key(raw_input)
    if key is None:
        return None
    value = raw_input[key]
    return value if isinstance(value, str) else shlex.join(value)


def command_key(raw_input: Any) -> str | None:
    """Return the key of the command line in a tool call's input, if there is one."""
    if not isinstance(raw_input, dict):
        return None
    for key in _COMMAND_KEYS:
        value = raw_input.get(key)
        if isinstance(value, str) and value.strip():
            return key
        # Some agents send the words of a command instead of a line.
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return key
    return None


def input_text(raw_input: Any) -> str:
    """Return a tool call's input as indented JSON; empty if there is none."""
    return "" if raw_input in (None, {}, []) else json_text(raw_input)


def json_text(value: Any) -> str:
    """Return ``value`` as indented JSON in which control characters are written as ``<U+001B>``; never raises."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (TypeError, RecursionError):  # too deep, too large a number, half a character
        text = "".join(_tokens(value))
    text = text.replace("\\\\", "\0")  # JSON has no NUL, so this can be undone
    for escape, shown in _ESCAPES.items():
        text = text.replace(escape, shown)
    return text.replace("\0", "\\\\")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str


def _tokens(value: Any) -> Iterator[str]:
    """Yield the pieces of ``value`` as JSON; however deep it is, as nothing here calls itself."""
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, _Token):
            yield item.text
        elif isinstance(item, dict):
            yield "{"
            todo.append(_Token("}"))
            for number, (key, inner) in reversed(list(enumerate(item.items()))):
                todo += [inner, _Token(f"{', ' if number else ''}{json.dumps(str(key), ensure_ascii=False)}: ")]
        elif isinstance(item, list):
            yield "["
            todo.append(_Token("]"))
            for number, inner in reversed(list(enumerate(item))):
                todo += [inner, _Token(", " if number else "")]
        else:
            yield json.dumps(item, ensure_ascii=False, default=str)
