"""Reads a command line as a shell does, as far as it takes to find its commands (pure).

Nothing is run, looked up or expanded. What commands run in turn is told by `bot.work.permissions.command_lines`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Words = tuple[str | None, ...]
"""The words of a command; None: one that is known only when it runs, and may become none or several."""

MOST_NESTED = 8
_MOST_STEPS = 6_000
"""Pieces of one reading: every thread waits for this."""

ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_REDIRECTION = re.compile(r"&>>?|<<<|<<-?|<>|<&|>>|>&|>\||<|>")
_PARAMETER = re.compile(r"\$(?:\w+|[@*#?$!-]|\{[#!]?[\w@*#?$!-][^{}'\"`$\\()]*\})")
_PLAIN_BRACES = re.compile(r"\{(?![^{}]*\.\.)[^\s{},'\"$`\\;&|<>()]*\}")
_LITERAL = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_LITERAL_IN_QUOTES = re.compile(r'[^"\\$`]+')
_ENDS_A_WORD = frozenset(" \t\n;&|()<>")


class UnreadableError(Exception):
    """The line has something that this does not understand."""


@dataclass(slots=True)
class ShellReader:
    """Reads a line as a shell does, as far as it takes to find its commands; what is rarer is `UnreadableError`.

    Where it is in doubt it finds one command too many, never one too few.
    """

    text: str
    depth: int = 0
    at: int = 0
    doubtful: bool = False
    commands: list[Words] = field(default_factory=list)
    steps: int = 0

    def read(self, closing: str = "") -> None:
        """Read commands up to the bracket that closes them, or to the end."""
        if self.depth > MOST_NESTED:
            raise UnreadableError
        words: list[str | None] = []
        bodies: list[tuple[str, bool, bool]] = []
        starts, redirected = True, False
        while self.at < len(self.text):
            self.steps += 1
            if self.steps > _MOST_STEPS:
                self.end_command(words)
                raise UnreadableError
            sign = self.text[self.at]
            if sign in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif sign == "#":
                self.doubtful = True
                # A comment, but not to every shell: hence the doubt.
                self.at = end if (end := self.text.find("\n", self.at)) >= 0 else len(self.text)
            elif self.text.startswith(("<(", ">("), self.at):
                self.at += 2
                # Its commands run, and the word becomes the name of a pipe.
                self.nested(")")
                words.append(None)
            elif redirection := _REDIRECTION.match(self.text, self.at):
                # A number right before it is no word of the command.
                if words and (words[-1] or "").isdigit() and self.text[self.at - 1].isdigit():
                    words.pop()
                self.at = redirection.end()
                redirected = True
                if redirection[0] in ("<<", "<<-"):
                    bodies.append(self.here(dashed=redirection[0] == "<<-"))
                    redirected = False
            elif sign in "\n;&|()":
                self.at += 1
                self.end_command(words)
                words, starts, redirected = [], True, False
                if sign == "\n":
                    self.skip(bodies)
                elif sign == "(":
                    self.doubtful |= self.text.startswith("(", self.at)
                    self.nested(")")
                elif sign == ")":
                    if not closing or bodies:
                        raise UnreadableError
                    return
            else:
                word = self.word(starts=starts)
                if not redirected:
                    words.append(word)
                    starts = starts and word is not None and ASSIGNMENT.match(word) is not None
                redirected = False
        self.end_command(words)
        if closing or bodies:
            raise UnreadableError

    def end_command(self, words: list[str | None]) -> None:
        """Note a command, if there is one."""
        if words:
            self.commands.append(tuple(words))
        # Its patterns end with single brackets, and what stands in its branches could be taken for something else.
        if words and words[0] in ("case", "esac"):
            raise UnreadableError

    def nested(self, closing: str) -> None:
        """Read the commands in brackets."""
        self.depth += 1
        self.read(closing)
        self.depth -= 1

    def here(self, *, dashed: bool) -> tuple[str, bool, bool]:
        """Return what ends the here-document that begins: the word, whether it was quoted, whether after tabs."""
        self.doubtful = True
        while self.text.startswith((" ", "\t"), self.at):
            self.at += 1
        start = self.at
        word = self.word(starts=False)
        # Known only when it runs: then nobody can say where the text ends.
        if not word:
            raise UnreadableError
        return word, re.search(r"['\"\\]", self.text[start : self.at]) is not None, dashed

    def skip(self, bodies: list[tuple[str, bool, bool]]) -> None:
        """Skip the here-documents that begin with this line; what they substitute is run all the same."""
        for word, literal, dashed in bodies:
            start = self.at
            while True:
                if self.at >= len(self.text):
                    raise UnreadableError
                end, next_line = self.at, self.text.find("\n", self.at)
                line = self.text[end : next_line if next_line >= 0 else None]
                self.at += len(line) + 1
                if (line.lstrip("\t") if dashed else line) == word:
                    break
            if not literal:
                inner = ShellReader(self.text[start:end] + '"', self.depth + 1)
                # As in double quotes: substitutions run, and nothing else does.
                inner.quoted(body=True)
                self.commands += inner.commands
        bodies.clear()

    def word(self, *, starts: bool) -> str | None:
        """Read a word; None if it has something in it that is known only when it runs.

        Args:
            starts: it may be an assignment before a command: of that, the name is enough.
        """
        pieces: list[str] = []
        known: str | None = None
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] not in _ENDS_A_WORD and self.steps <= _MOST_STEPS:
            self.steps += 1
            sign, rest = self.text[self.at], self.text[self.at : self.at + 2]
            piece: str | None = sign
            if literal := _LITERAL.match(self.text, self.at):
                piece, self.at = literal[0], literal.end()
            elif sign == "\\":
                piece = "" if rest == "\\\n" else rest[1:]
                if len(rest) < 2:
                    raise UnreadableError
                self.at += 2
            elif sign == "'":
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise UnreadableError
                piece, self.at = self.text[self.at + 1 : end], end + 1
            elif sign == '"':
                self.at += 1
                piece = self.quoted()
            elif sign in "$`":
                piece = self.expansion()
            elif sign == "{" and (plain := _PLAIN_BRACES.match(self.text, self.at)):
                piece, self.at = plain[0], plain.end()
            else:
                alone = self.text[self.at + 1 : self.at + 2] in ("", " ", "\t", "\n")
                # A bracket that stands alone is the command of that name, and no glob.
                brackets = sign == "[" and self.at == begin and (alone or rest == "[[")
                self.doubtful |= rest == "[["
                lone = brackets or (sign == "{" and self.at == begin and alone)
                # It may become another word, or several.
                if (sign in "*?[{" and not lone) or (sign in "~=" and self.at == begin):
                    piece = None
                if brackets and rest == "[[":
                    piece, self.at = rest, self.at + 1
                self.at += 1
            if piece is None and known is None:
                known = "".join(pieces)
            pieces.append(piece or "")
        if known is None:
            return "".join(pieces)
        assignment = ASSIGNMENT.match(known) if starts else None
        return assignment[0] if assignment else None

    def quoted(self, *, body: bool = False) -> str | None:
        """Read up to the closing double quote; ``body``: up to the end of a here-document, which has no quotes."""
        pieces: list[str] = []
        known = True
        while self.at < len(self.text):
            self.steps += 1
            sign = self.text[self.at]
            if sign == '"' and not (body and self.at < len(self.text) - 1):
                self.at += 1
                return "".join(pieces) if known else None
            if sign == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                pieces.append("" if following == "\n" else following if following in '$`"\\' else f"\\{following}")
                self.at += 2
            elif sign in "$`":
                piece = self.expansion(quoted=True)
                known = known and piece is not None
                pieces.append(piece or "")
            elif literal := _LITERAL_IN_QUOTES.match(self.text, self.at):
                pieces.append(literal[0])
                self.at = literal.end()
            else:
                pieces.append(sign)
                self.at += 1
        raise UnreadableError

    def expansion(self, *, quoted: bool = False) -> str | None:
        """Read what a dollar or a backtick begins; return a dollar that begins nothing."""
        if self.text[self.at] == "`":
            end = re.compile(r"(?>(?:[^`\\]|\\.)*)`", re.DOTALL).match(self.text, self.at + 1)
            if end is None:
                raise UnreadableError
            # Within backticks, one backslash is taken away before the inside is read.
            inner = ShellReader(re.sub(r'\\([$`\\"])' if quoted else r"\\([$`\\])", r"\1", end[0][:-1]), self.depth + 1)
            inner.read()
            self.commands += inner.commands
            self.doubtful, self.at = True, end.end()
            return None
        if self.text.startswith("$(", self.at):
            self.doubtful |= self.text.startswith("$((", self.at)
            self.at += 2
            self.nested(")")
            return None
        if not quoted and self.text.startswith('$"', self.at):
            self.at += 2
            return self.quoted()
        if not quoted and self.text.startswith("$'", self.at):
            end = re.compile(r"(?>(?:[^'\\]|\\.)*)'", re.DOTALL).match(self.text, self.at + 2)
            if end is None:
                raise UnreadableError
            self.at = end.end()
            return None
        if parameter := _PARAMETER.match(self.text, self.at):
            self.doubtful |= "{" in parameter[0]
            self.at = parameter.end()
            return None
        if self.text.startswith(("${", "$["), self.at):
            raise UnreadableError
        self.at += 1
        return "$"
