"""What a permission request would do, as far as rules go by it: commands, paths, kinds (pure).

It is read from the tool call as the agent sent it. What is in it that rules do not know makes it less than `Ask.whole`,
which no allow rule covers; for deny rules, everything that may be a path or a command is told. What a rule makes of it
is decided in `bot.work.permissions.rules`.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from acp.schema import ToolCallUpdate
from bot.reply.request_detail import COMMAND_KEYS, command_in, content_of, paths_of
from bot.reply.sanitise import spelled
from bot.work.permissions.command_lines import Runs, exact_words, names_in, runs_of, script_of

_TOP_KEYS = names_in("toolCallId sessionUpdate _meta title name kind status content locations rawInput rawOutput")

_HARMLESS_LISTS = names_in(
    "parsed_cmd parsedCmd command_actions commandActions available_decisions availableDecisions "
    "proposed_execpolicy_amendment proposedExecpolicyAmendment"
)
_HARMLESS_KEYS = _HARMLESS_LISTS | names_in(
    "description reason justification timeout timeout_ms timeoutMs call_id callId turn_id turnId item_id itemId "
    "thread_id threadId approval_id approvalId started_at_ms startedAtMs"
)
"""Keys of an input that change nothing that a command does: what is said of it, how long it may take, ids, how an
agent reads its own command, and what other answers would do. Only of the last two are objects and lists taken."""

_OFF_KEYS = frozenset(
    {"run_in_background", "runInBackground", "is_background", "background", "dangerouslyDisableSandbox"}
)
"""Those that change nothing while they are false."""

_DIRECTORY_KEYS = ("cwd", "workdir", "working_directory", "workingDirectory", "dir_path", "directory")
_WORDS_KEYS = ("args", "arguments", "argv", "commands", "stdin", "input")
_PATH_KEYS = names_in(
    "path paths file files file_path filePath filepath filename abs_path absolute_path absolutePath notebook_path "
    "source destination old_path oldPath new_path newPath"
) | set(_DIRECTORY_KEYS)
_TEXT_KEYS = names_in(
    "content contents text old_string new_string oldString newString old_str new_str old_text new_text oldText "
    "newText old_source new_source replace_all replaceAll expected_replacements edits instruction instructions "
    "offset limit line insert_line insert_text view_range encoding diff query pattern glob include type "
    "output_mode case_sensitive multiline head_limit recursive url urls prompt format max_length"
)
_GLOB_KEYS, _ADDRESS_KEYS = ("glob", "include", "pattern"), ("url", "urls")
_MOST_VALUES, _MOST_WORDS, _MOST_ARGUMENTS = 5_000, 500, 50
_MOST_TEXT, _LONGEST_PATH, _MOST_PATHS = 200_000, 1_000, 500
"""A path that is longer, and whatever there is of more paths, is anywhere: every thread waits for this."""

_OF_DATA = frozenset({"read", "edit", "delete", "move", "search", "think", "fetch", "switch_mode", "execute"})
"""Kinds that say what is done; of the others, the title may be a command."""

_NOTHING: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Place:
    """A path that a request names.

    Attributes:
        parts: of the absolute path, dots resolved by their letters alone.
        inside: its parts below the workspace; None: it is elsewhere.
        clear: it means the same to everybody. With ``..``, which a link can lead astray, ``~`` or a hidden character it
            does not.
    """

    parts: tuple[str, ...]
    inside: tuple[str, ...] | None
    clear: bool


_ANYWHERE = Place((), None, clear=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request would do.

    Attributes:
        kinds: what the agent calls it, and what is in it: with a command ``execute``, with a change ``edit``.
        words: the command, if it is one of literal words, with nothing hidden.
        runs: all that the command may run; None: there is no command.
        hints: of one without a command, texts of which nobody knows whether they are run; None: there are none.
        places: the files and directories that it names.
        mentioned: what else may be a path in it; only for forbidding.
        directory: where the command runs.
        changes: whether it brings changes of files.
        whole: this is all that it would do: an allow rule that covers it covers the request.
        complete: all that the agent said of it is known; else nothing but a person answers it.
    """

    kinds: frozenset[str]
    words: tuple[str, ...] | None
    runs: Runs | None
    hints: Runs | None
    places: tuple[Place, ...]
    mentioned: tuple[Place, ...]
    directory: Place
    changes: bool
    whole: bool
    complete: bool = True


def ask_of(call: ToolCallUpdate, workspace: str, *, complete: bool = True) -> Ask:
    """Return what a permission request's tool call would do; ``complete``: it is all that the agent said, and is shown.

    The ``workspace`` is where the session works, as the agent sees it; empty if that is not known.
    """
    sent = call.as_sent()
    raw = sent.get("rawInput")
    diffs, texts, odd = content_of(sent)
    whole = complete and not odd and _has_known_shape(sent)
    # 1. What it runs, and what it is.
    runs, words = _command_of(sent, raw if isinstance(raw, dict) else {})
    kinds = _kinds_of(sent.get("kind"), runs, changes=bool(diffs))
    # 2. What it names: paths, and what may be one.
    paths = [diff.get("path") for diff in diffs]
    paths += [place.get("path") if isinstance(place, dict) else None for place in _listed(sent.get("locations") or [])]
    directory, inside = workspace, _Inside()
    if isinstance(sent.get("title"), str) and not kinds & _OF_DATA:
        # Some agents say in it alone what a tool of theirs does.
        inside.others += [sent["title"], *texts]
    if runs is not None:
        directory, known = _beside_the_command(raw, runs, workspace)
    else:
        inside.read(raw)
        paths += inside.paths
        known = inside.known and (isinstance(raw, dict) or raw in _NOTHING)
    places, few = _places_of(paths, workspace)
    whole = whole and known and few and all(isinstance(path, str) for path in paths)
    # 3. What only forbidding goes by.
    hints, mentioned = inside.in_doubt(workspace)
    return Ask(
        kinds=kinds,
        # An allow rule goes by the words alone, so they count only where nothing else is done.
        words=words if words and whole else None,
        runs=runs,
        hints=hints,
        places=places,
        mentioned=mentioned,
        directory=place_of(directory, workspace),
        changes=bool(diffs),
        whole=whole,
        complete=complete,
    )


def _has_known_shape(sent: dict[str, Any]) -> bool:
    """Return whether a tool call has only what rules know, in the form that they know."""
    known = not paths_of(sent)[1] and not set(sent) - _TOP_KEYS
    return known and isinstance(sent.get("content"), list | None) and isinstance(sent.get("kind"), str | None)


def _kinds_of(kind: Any, runs: Runs | None, *, changes: bool) -> frozenset[str]:
    kinds = {"execute"} if runs is not None else set[str]()
    kinds |= {"edit"} if changes else set()
    # Whatever the agent calls it; "other" is what it calls all that it has no word for.
    kinds |= {kind} if isinstance(kind, str) and kind not in ("", "other") else set() if kinds else {"other"}
    return frozenset(kinds)


def _beside_the_command(raw: Any, runs: Runs, workspace: str) -> tuple[str, bool]:
    """Read what an input has beside its command: return where that runs, and whether rules know all of it.

    What they do not know may be run as well: ``runs`` takes it in.
    """
    key, _ = command_in(raw) or ("", "")
    directory, known = workspace, True
    for name, value in raw.items() if isinstance(raw, dict) else ():
        if name in _DIRECTORY_KEYS and isinstance(value, str) and value:
            # Two that differ: only the agent knows which one counts.
            known &= directory in (workspace, value)
            directory = value
        elif name != key and not _is_harmless(name, value) and value not in _NOTHING:
            known &= name in _OFF_KEYS and value is False
            beside = _flat(value)
            if texts_beside := [text for text in beside if isinstance(text, str)]:
                runs.text, runs.doubtful = "\n".join([runs.text, *texts_beside]), True
            runs.unreadable |= len(runs.text) > _MOST_TEXT or len(beside) >= _MOST_VALUES
    return directory, known and isinstance(raw, dict)


@dataclass(slots=True)
class _Inside:
    """What an input has in it, at any depth.

    Attributes:
        known: there are only keys that rules know.
        paths: what stands for paths.
        globs: those of a search; only for forbidding.
        others: texts below other keys, and these keys.
    """

    known: bool = True
    paths: list[Any] = field(default_factory=list)
    globs: list[Any] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def read(self, raw: Any) -> None:
        """Read an input, as far as anybody would."""
        todo, seen = [("", raw)], 0
        while todo and seen < _MOST_VALUES:
            seen += 1
            name, value = todo.pop()
            if name and name in _HARMLESS_KEYS and not _is_harmless(name, value):
                self.known, name = False, ""
            if isinstance(value, Mapping):
                todo += reversed(list(value.items()))
                unknown = value.keys() - _PATH_KEYS - _TEXT_KEYS - _HARMLESS_KEYS
                self.known &= not unknown
                self.others += sorted(unknown)
            elif isinstance(value, list):
                # Backwards, as the last is read next: a list may be a command.
                todo += [(name, item) for item in reversed(value[:_MOST_VALUES])]
            elif name in _PATH_KEYS:
                self.paths += [value] if value not in _NOTHING else []
            elif isinstance(value, str) and name in _GLOB_KEYS:
                # Of a search, it may be somewhere else than it seems.
                self.paths += [value] if value.startswith(("/", "~")) or ".." in value else []
                # One that may begin anywhere, within brackets: None, as nobody knows where it looks.
                self.paths += [None] if re.search(r"[{,(|][/~]", value) else []
                # With a backslash it is a regular expression, which names no path.
                self.globs += [value] if "\\" not in value else []
            elif isinstance(value, str) and name in _ADDRESS_KEYS:
                # A file has an address, too.
                web = re.match(r"https?://", value, re.IGNORECASE)
                self.paths, self.globs = self.paths + ([] if web else [None]), self.globs + ([] if web else [value])
            elif isinstance(value, str) and name not in _TEXT_KEYS | _HARMLESS_KEYS:
                self.others.append(value)
        # What nobody has looked at is not known.
        self.known &= not todo

    def in_doubt(self, workspace: str) -> tuple[Runs | None, tuple[Place, ...]]:
        """Return the texts of which nobody knows whether they are run, and what else in it may be a path."""
        text = "\n".join(self.others)
        # Doubtful, so that they are only looked at for what they mention.
        hints = Runs(text, doubtful=True, unreadable=len(text) > _MOST_TEXT) if text else None
        mentioned, _ = _places_of([one for one in self.others if len(one) <= _LONGEST_PATH], workspace)
        globs, _ = _places_of(self.globs, workspace)
        return hints, (*mentioned, *globs)


def _is_harmless(name: str, value: Any) -> bool:
    return name in _HARMLESS_LISTS or (name in _HARMLESS_KEYS and not isinstance(value, Mapping | list))


def _places_of(paths: Sequence[Any], workspace: str) -> tuple[tuple[Place, ...], bool]:
    """Return what some paths mean, and whether all were looked at."""
    known = dict.fromkeys(path for path in paths if isinstance(path, str))
    few = [path for path in islice(known, _MOST_PATHS) if len(path) <= _LONGEST_PATH]
    places = dict.fromkeys(place_of(path, workspace) for path in few)
    if len(few) < len(known):
        places[_ANYWHERE] = None
    return tuple(places), len(few) == len(known)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _command_of(sent: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Runs | None, tuple[str, ...] | None]:
    """Return what the command of a request may run, None if there is none; and its words, if they are exact."""
    raw = sent.get("rawInput")
    found = command_in(raw)
    given = {key: fields[key] for key in (*COMMAND_KEYS, *_WORDS_KEYS) if fields.get(key) not in _NOTHING}
    if found is None:
        if sent.get("kind") != "execute" and not any(key in given for key in (*COMMAND_KEYS, "commands", "argv")):
            return None, None
        # Some agents say it in the title alone, where nobody can tell what else it is: good enough to forbid.
        runs = runs_of(raw if isinstance(raw, str) else " ".join(map(str, _flat(given) or [sent.get("title") or ""])))
        runs.unreadable = True
        return runs, None
    key, line = found
    value = fields[key]
    command: str | list[str] = value if isinstance(value, str) else list(value)
    rest = [str(word) for word in _flat({name: given[name] for name in given if name != key})]
    if len(command) > _MOST_TEXT or len(rest) > _MOST_WORDS or sum(map(len, rest)) > _MOST_TEXT:
        return Runs("", unreadable=True), None
    if not rest:
        return runs_of(command), _exactly(command)
    # "command" beside "args", or two commands: what is run of it only the agent knows.
    runs = runs_of(f"{line} {shlex.join(rest)}")
    for other in (line, *rest[:_MOST_ARGUMENTS]):
        more = runs_of(other)
        runs.commands += more.commands
        runs.doubtful |= more.doubtful
        runs.looked_at += more.looked_at
        if runs.looked_at > _MOST_WORDS:
            runs.unreadable = True
            break
    runs.unreadable |= len(rest) > _MOST_ARGUMENTS or set(given) - {key} != {"args"}
    return runs, None


def _exactly(command: str | list[str]) -> tuple[str, ...] | None:
    if isinstance(command, str):
        return exact_words(command)
    script = script_of(command)
    if script is not None:
        return exact_words(script)
    words = exact_words(shlex.join(command))
    # An agent that joins its words again must not run more than is matched.
    return words if words == tuple(command) and not re.search(r"[;&|<>`$()]", "".join(command)) else None


def _flat(value: Any) -> list[Any]:
    """Return what is in lists and objects, in order, as far as anybody would read it."""
    found, todo = list[Any](), [value]
    while todo and len(found) < _MOST_VALUES:
        item = todo.pop()
        inner = list(item.values()) if isinstance(item, Mapping) else item
        if isinstance(inner, list):
            todo += reversed(inner)
        else:
            found.append(item)
    return found


def place_of(path: str, workspace: str) -> Place:
    """Return what a path means to an agent that works in ``workspace``, which is absolute, or empty if unknown."""
    # By its letters alone: the disk may be another machine's, and a link may change before anything runs.
    root = _parts(workspace)
    parts = _parts(posixpath.join(workspace or "/", path))
    inside = parts[len(root) :] if workspace and parts[: len(root)] == root else None
    odd = path.startswith("~") or ".." in path.split("/") or ":/" in path or "\\" in path or spelled(path) != path
    return Place(parts, inside, clear=bool(path and workspace) and not odd and not re.search(r"[\t\n]", path))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in posixpath.normpath(path or "/").split("/") if part)
