"""Patterns for commands, and whether one matches what a command line runs (pure).

`fits` is for allowing and matches a command word by word; `may_fit` is for forbidding and goes by the program, the
flags and the order of the words. docs/permissions.md has examples of both.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase, translate
from functools import lru_cache

from bot.work.permissions.command_lines import MOST_ARGUMENTS, Runs, runs_others, values_in
from bot.work.permissions.shell_reader import Words

_GLOB = re.compile(r"[*?\[]")
_NAMED = re.compile(r"\[[*?\[]\]")
"""How a pattern names a sign that would be a glob: ``[*]``."""

_SHORT_FLAGS = re.compile(r"-[A-Za-z]+\*?")
_LONG_FLAGS = {"r": "--recursive", "f": "--force", "n": "--dry-run", "d": "--delete", "a": "--all"}


class Match(IntEnum):
    """Whether a pattern matches; MAYBE: nobody can tell before the command runs."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern for commands.

    Attributes:
        words: a glob for each of the first words.
        more: further words may follow.
    """

    words: tuple[str, ...]
    more: bool

    @property
    def literal(self) -> bool:
        """Whether it has no glob at all."""
        return not self.more and not any(map(is_glob, self.words))


@lru_cache(maxsize=1024)
def pattern_of(text: str) -> Pattern:
    """Return the pattern that a text stands for.

    Raises:
        ValueError: a quote in it is not closed.
    """
    words = tuple(shlex.split(text))
    if words and words[-1].endswith("*"):
        # "status *" is the word and anything after it, "status*" any word that begins so, and anything after it.
        return Pattern(words[:-1] if words[-1] == "*" else words, more=True)
    return Pattern(words, more=False)


def pattern_for(words: Iterable[str]) -> str:
    """Return the text of the pattern that matches these words alone."""
    return shlex.join(_GLOB.sub(r"[\g<0>]", word) for word in words)


def is_glob(word: str) -> bool:
    """Return whether a word of a pattern stands for several."""
    return _GLOB.search(_NAMED.sub("", word)) is not None


def fits(pattern: Pattern, words: Sequence[str]) -> bool:
    """Return whether a pattern matches all words of a command, each in its place."""
    # What stands for any word would stand for any command that such a program runs.
    if runs_others(words) and not pattern.literal:
        return False
    given = len(pattern.words)
    enough = len(words) >= given if pattern.more else len(words) == given
    return enough and all(map(fnmatchcase, words, pattern.words))


def may_fit(pattern: Pattern, runs: Runs) -> Match:
    """Return whether a pattern matches any command of a line, whatever follows the words that it names."""
    best = max((_may_fit(pattern, words) for words in runs.commands), default=Match.NO)
    if best is Match.NO and (runs.unreadable or (runs.doubtful and _mentioned(pattern, runs.text))):
        return Match.MAYBE
    if best is Match.NO and any(_may_begin(pattern, words) for words in runs.arguments):
        return Match.MAYBE
    return best


def _may_begin(pattern: Pattern, words: Words) -> bool:
    """Return whether a command that a pattern matches may begin among the first arguments of a program."""
    ends = range(min(len(words), MOST_ARGUMENTS))
    return any(words[at] is not None and _may_fit(pattern, words[at:]) is not Match.NO for at in ends)


def _may_fit(pattern: Pattern, words: Words) -> Match:
    program = words[0]
    if program is None or not pattern.words:
        return Match.MAYBE if program is None else Match.YES
    # By whatever path; and on some systems GIT is git.
    name = (program if "/" in pattern.words[0] else program.rpartition("/")[2]).lower().removesuffix(".exe")
    if not fnmatchcase(name, pattern.words[0].lower()):
        # Each of git's subcommands is a program, too.
        return _may_fit(pattern, ("git", name[4:], *words[1:])) if name.startswith("git-") else Match.NO
    wanted = [word for word in pattern.words[1:] if not word.startswith("-")]
    # Options and their values may stand between the words that are looked for: git -C /srv push.
    states = {(0, False)}
    for word in words[1:]:
        if any(at == len(wanted) for at, _ in states):
            break
        if word is None and states:
            return Match.MAYBE
        following = set()
        for at, after_option in states:
            if fnmatchcase(word or "", wanted[at]):
                following.add((at + 1, False))
            if (word or "").startswith("-"):
                following.add((at, True))
            elif after_option:
                following.add((at, False))
        states = following
    if not any(at == len(wanted) for at, _ in states):
        return Match.NO
    given = [word for word in words[1:] if word is not None]
    if all(_has_flag(given, flag) for flag in pattern.words[1:] if flag.startswith("-")):
        return Match.YES
    return Match.MAYBE if None in words else Match.NO


def _has_flag(words: Sequence[str], flag: str) -> bool:
    """Return whether a flag of a pattern is among some words, however it is spelt: -rf is -f --recursive."""
    if any(fnmatchcase(word, flag) for word in words):
        return True
    if _SHORT_FLAGS.fullmatch(flag):
        return set(flag.strip("-*").lower()) <= _letters(words)
    name = flag.rstrip("*")
    return any(len(word) > 3 and word.startswith("--") and name.startswith(word) for word in words) or any(
        letter in _letters(words) for letter, long in _LONG_FLAGS.items() if long.startswith(name) and len(name) > 3
    )


def _letters(words: Iterable[str]) -> set[str]:
    """Return the letters of all short flags, and of long ones the letter that commonly means the same."""
    found = set[str]()
    for word in words:
        if word.startswith("--"):
            found |= {letter for letter, long in _LONG_FLAGS.items() if len(word) > 3 and long.startswith(word)}
        elif word.startswith("-"):
            found |= set(word[1:].lower())
    return found


def _mentioned(pattern: Pattern, text: str) -> bool:
    """Return whether the words of a pattern stand in a text in their order, whatever stands between them."""
    tokens = _tokens(text)
    flags = [word.lower() for word in pattern.words[1:] if word.startswith("-")]
    rest = iter(tokens)
    wanted = [word.lower() for word in pattern.words if word.lower() not in flags]
    return all(any(map(_named(word), rest)) for word in wanted) and all(_has_flag(tokens, flag) for flag in flags)


@lru_cache(maxsize=4)
def _tokens(text: str) -> tuple[str, ...]:
    # Of the last few texts: each is held against all rules.
    found = list[str]()
    for token in re.findall(r"[\w./+-]+", re.sub(r"\\\n|['\"\\]", "", text.lower())):
        found += [token, *values_in(token)]
    return tuple(found)


@lru_cache(maxsize=1024)
def _named(word: str) -> Callable[[str], re.Match[str] | None]:
    """Return what matches a word by a glob, by whatever path."""
    return re.compile(f"(?s:.*/)?(?:{translate(word)})").match
