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

COMMAND_KEYS = ("command", "cmd", "script")
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
    """Return whether ``text`` is one line that fits, once what can't be seen is written out."""
    if len(text) > limit:
        return False
    line = spelled(text).strip(" ")
    return line == one_line(line) and units(line) <= limit


def inline(text: str, limit: int) -> str:
    """Return the beginning of ``text`` as inline code, with what can't be seen written out."""
    return inline_code(spelled(text[: 16 * limit]), limit)


def one_row(text: str) -> str:
    """Return ``text`` as one line that says where it has more."""
    return spelled(text).replace("\n", "<U+000A>")


def with_short_paths(call: Json, workspace: str) -> Json:
    """Return a tool call in which places and diffs that lie in the workspace are named from there.

    Other paths stay as they are, also those that only seem to lie in it: what people read is what is meant.
    """
    root = workspace.rstrip("/") + "/"

    def short(item: object) -> object:
        path = item.get("path") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(path, str) or not workspace or not path.startswith(root):
            return item
        rest = path[len(root) :]
        return item if {"", ".", ".."} & set(rest.split("/")) else {**item, "path": rest}

    lists = {key: call[key] for key in ("locations", "content") if isinstance(call.get(key), list)}
    return {**call, **{key: [short(item) for item in items] for key, items in lists.items()}}


def paths_of(call: Json) -> tuple[list[str], list[Any]]:
    """Return the places (``path`` or ``path:line``) that a tool call and its diffs name, and what is no place."""
    locations = call.get("locations")
    paths, odd = [], [locations] if locations and not isinstance(locations, list) else []
    for place in locations if isinstance(locations, list) else ():
        fields = place if isinstance(place, dict) else {}
        path, line = fields.get("path"), fields.get("line")
        # With a field that we don't know it is more than a place: it is shown as it came.
        if (
            not isinstance(path, str)
            or fields.keys() - {"path", "line", "_meta"}
            or type(line) not in (int, type(None))
        ):
            odd.append(place)
        else:
            paths.append(path if line is None else f"{path}:{line}")
    paths += [diff["path"] for diff in content_of(call)[0] if diff.get("path")]
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
    diffs, texts, others = content_of(call)
    if isinstance(rest.get("content"), list):
        del rest["content"]
    inputs = _input_parts(rest.pop("rawInput", None), diffs)
    # A command is what decides; without one, the change is what people can read best.
    seen_best = [*_changes(diffs), *(Part("Text", text) for text in texts)]
    parts = [*inputs, *seen_best] if inputs[0].name == "Command" else [*seen_best, *inputs]
    if isinstance(rest.get("title"), str):
        parts.append(Part("Title", rest.pop("title")))
    paths, odd = paths_of(call)
    rest.pop("locations", None)
    if paths and not places_shown:
        parts.append(Part("Places", "\n".join(map(one_row, paths))))
    more = rest | ({"content": others} if others else {}) | ({"locations": odd} if odd else {})
    parts += [Part("More", json_text(more))] if more else []
    # Each text once: agents put the command into title and content, too.
    kept: dict[str, Part] = {}
    for part in parts:
        if part.text.strip(" \t\n"):
            # What is to be done is another thing with backticks; around what is said of it they are Markdown.
            kept.setdefault(part.text.strip(" \n" if part.name == "Input" else "` \n"), part)
    return list(kept.values())


def _input_parts(raw: Any, diffs: list[Json]) -> list[Part]:
    """Return the command by itself, and all that stands beside it: what a command does depends on it."""
    if not isinstance(raw, dict):
        return [Part("Input", raw if isinstance(raw, str) else json_text(raw))]
    key, line = command_in(raw) or (None, "")
    beside = {name: value for name, value in raw.items() if name != key}
    if len(diffs) == 1:  # of several changes nobody could say which one a text belongs to
        # An agent's input has the texts of the change once more; short ones are shown, as they may mean something else.
        # Each by its side, as what is taken away must not pass for what comes.
        old, new = diffs[0].get("oldText"), diffs[0]["newText"]
        sides = {old: "(the old text of the change)", new: "(the new text of the change)"}
        for name, value in beside.items():
            if isinstance(value, str) and len(value) > _LONG:
                beside[name] = sides.get(value, value)
    if key is None:
        return [Part("Input", json_text(beside))]
    where = ""
    for name in _DIRECTORY_KEYS:
        value = beside.get(name)
        # Above the command only if it is nothing but a path: a line break in it could pass for a part of the command.
        if isinstance(value, str) and value and spelled(value) == value == one_line(value):
            where = f"# in {beside.pop(name)}\n"
            break
    return [Part("Command", where + line, "sh", file="command.txt"), Part("Input", json_text(beside))]


def content_of(call: Json) -> tuple[list[Json], list[str], list[Any]]:
    """Return the changes and the plain texts of a tool call's content, and what is neither, as it came."""
    content = call.get("content")
    diffs, texts, others = list[Json](), list[str](), list[Any]()
    for item in content if isinstance(content, list) else ():
        fields = item if isinstance(item, dict) else {}
        block = fields.get("content") if fields.get("type") == "content" else None
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
            known: list[tuple[Json, tuple[str, ...]]] = [(block, ("type", "text")), (fields, ("type", "content"))]
        elif (
            fields.get("type") == "diff"
            and isinstance(fields.get("newText"), str)
            and all(isinstance(fields.get(key), str | None) for key in ("path", "oldText"))
        ):
            diffs.append(fields)
            known = [(fields, ("type", "path", "oldText", "newText"))]
        else:
            others.append(item)
            continue
        # Fields beyond those of the protocol may say what is to be decided: they are shown as they came.
        beside = {
            key: value
            for source, keys in known
            for key, value in source.items()
            if key not in (*keys, "_meta") and value is not None
        }
        others += [beside] if beside else []
    return diffs, texts, others


def _changes(diffs: list[Json]) -> list[Part]:
    """Return all changes with all their lines; ``short`` leaves unchanged lines out where there are many."""
    whole, short, room = list[str](), list[str](), COMPARISONS
    for diff in diffs:
        path, old, new = one_row(diff.get("path") or "?"), diff.get("oldText"), diff["newText"]
        source = "/dev/null" if old is None else path
        head, cost = [f"--- {source}", f"+++ {path}"], comparison_cost(old, new)
        if cost > room:
            # All threads wait for a comparison: beyond the bound, all old lines go and all new ones come.
            sides = [(sign, text.removesuffix("\n")) for sign, text in (("-", old), ("+", new)) if text]
            lines = [*head, *(sign + text.replace("\n", f"\n{sign}") for sign, text in sides)]
            short += lines
        else:
            room -= int(cost)
            # With what can't be seen written out, so that no carriage return or U+2028 ends a line.
            before, after = (spelled(text).removesuffix("\n").split("\n") if text else [] for text in (old or "", new))
            all_lines = max(len(before), len(after))
            lines = list(difflib.unified_diff(before, after, source, path, lineterm="", n=all_lines))
            lines = lines or [*head, *(f" {line}" for line in before)]
            short += _folded(lines)
        whole += lines
    if not whole:
        return []
    text, folded = "\n".join(whole), "\n".join(short)
    return [Part("Change", text, "diff", short=folded if folded != text else "", file="change.diff")]


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


def command_in(raw_input: Any) -> tuple[str, str] | None:
    """Return the key and the text of the command line in a tool call's input, if there is one."""
    for key in COMMAND_KEYS if isinstance(raw_input, dict) else ():
        value = raw_input.get(key)
        if isinstance(value, str) and value.strip():
            return key, value
        # Some agents send the words of a command instead of a line.
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return key, shlex.join(value)
    return None


def json_text(value: Any) -> str:
    """Return ``value`` as indented JSON with control characters as ``<U+001B>``, empty if it is; never raises."""
    if value in (None, {}, []):
        return ""
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
