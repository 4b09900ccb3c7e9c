"""An agent's Markdown, which is GitHub's, in the dialect that Discord shows (pure).

markdown-it says what the text means; only what Discord would show otherwise is replaced, by its place in the source,
and everything else stays as it is, byte for byte. A message is converted by itself, so the result depends on nothing
but its text; how an answer is cut into messages is decided in `bot.reply.split`. Blocks are converted here, inline
syntax in `bot.reply.markdown_inline`, tables in `bot.reply.markdown_table`. Of a text that still grows, the last
line counts only for what no further character can turn into something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it.token import Token

from bot.reply.markdown_inline import (
    Edit,
    applied,
    bold,
    converted_inline,
    inline_edits,
    new_parser,
    with_nothing_hidden,
)
from bot.reply.markdown_table import aligned, cells_of, listed
from bot.reply.sanitise import inline_code, without_fences

RULE = "─" * 10
_ZERO_WIDTH_SPACE = "\u200b"
_LONGEST_HEADING = 100
_RUN = re.compile("`(?=``)")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+\-.#]+")
_QUOTED = re.compile(r"[ \t>]*")
_CONTAINERS = re.compile(r"(?:[ \t]*(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*")
_FENCE = re.compile(
    r"(?P<before>(?:[ \t]*(?:[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*)(?P<marker>`{3,}|~{3,})(?P<info>.*)"
)

_BLOCKS = new_parser()
_BLOCKS.core.ruler.enableOnly(["normalize", "block"])  # of most paragraphs no inline syntax matters


def for_discord(text: str) -> str:
    """Return ``text``, which has no carriage returns, as Discord has to get it to show what its author meant."""
    return with_nothing_hidden(_Document(text).converted())


class _Document:
    """One text with the edits that are due in it, by offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.edits: list[Edit] = []
        self.item_lines: list[int] = []

    def converted(self) -> str:
        """Return the text with everything replaced that has to be."""
        tokens = _BLOCKS.parse("\n".join(_with_ends_in_place(_dedented(self.lines))), {})
        for number, token in enumerate(tokens):
            if token.map is None:
                continue
            match token.type:
                case "table_open":
                    self._table(token)
                case "fence":
                    self._fence(token)
                case "code_block":
                    self._indented_code(token)
                case "hr":
                    self._rule(token.map[0])
                case "heading_open":
                    self._heading(token, tokens[number + 1])
                case "list_item_open":
                    self._bullet(token)
                case "blockquote_open" if token.level == 0:
                    self._quote(token)
                case "inline" if tokens[number - 1].type == "paragraph_open":
                    self._paragraph(token, task=tokens[number - 2].type == "list_item_open")
        return applied(self.text, self.edits)

    def _replace(self, line: int, start: int, text: str, *, last: int | None = None) -> None:
        """Put ``text`` from a column of ``line`` to the end of that line, or of the line ``last``."""
        last = line if last is None else last
        self.edits.append(Edit(self.starts[line] + start, self.starts[last] + len(self.lines[last]), text))

    def _is_open(self, line: int) -> bool:
        """Return whether more characters may come in ``line``."""
        return line >= len(self.lines) - 1

    def _paragraph(self, token: Token, *, task: bool) -> None:
        edits = inline_edits(token.content)
        if task and (box := re.match(r"\[([ xX])\](?=[ \t])", token.content)):
            edits = [Edit(0, 3, "☐" if box[1] == " " else "☑"), *edits]
        self._in_place(token, edits)

    def _in_place(self, token: Token, edits: Sequence[Edit]) -> None:
        """Take over edits in the content of an inline token: its lines stand in the source behind their containers."""
        assert token.map is not None
        if not edits:
            return
        places: list[tuple[int, int]] = []
        start = 0
        for number, content in enumerate(token.content.split("\n")):
            line, bare = self.lines[token.map[0] + number].rstrip(), content.strip()
            # Tabs may have been replaced by spaces where the line begins, and closing signs of a heading taken off.
            column = line.rfind(bare) if number == 0 else len(line) - len(bare)
            if column < 0 or not line.startswith(bare, column):
                return
            indent = len(content) - len(content.lstrip())
            places.append((start, self.starts[token.map[0] + number] + column - indent))
            start += len(content) + 1

        def place(offset: int) -> int:
            begin, there = next(one for one in reversed(places) if one[0] <= offset)
            return there + offset - begin

        self.edits += [Edit(place(edit.start), place(edit.end), edit.text) for edit in edits]

    def _heading(self, token: Token, content: Token) -> None:
        assert token.map is not None
        first, end = token.map
        level, line = int(token.tag[1:]), self.lines[first]
        if token.markup[0] == "#":
            if level <= 3 or not content.content:
                self._in_place(content, inline_edits(content.content))
            else:
                self._replace(first, line.index(token.markup), bold(content.content))
            return
        underline = end - 1
        if self._is_open(underline):
            self._in_place(content, inline_edits(content.content))
        elif underline - first > 1 or len(content.content) > _LONGEST_HEADING:
            # A whole paragraph in large letters is meant by nobody: the line below it is.
            self._in_place(content, inline_edits(content.content))
            self._rule(underline)
        else:
            column = line.rstrip().rfind(content.content)
            self._replace(first, column, f"{'#' * level} {converted_inline(content.content)}", last=underline)

    def _rule(self, line: int) -> None:
        # A line that is still growing may yet become an item, a table or bold text.
        if not self._is_open(line):
            self._replace(line, self._container(line), RULE)

    def _bullet(self, token: Token) -> None:
        assert token.map is not None
        line = token.map[0]
        self.item_lines.append(line)
        if token.markup == "+" and (sign := re.match(r"[ \t>]*(\+)(?:[ \t]|$)", self.lines[line])):
            start = self.starts[line] + sign.start(1)
            self.edits.append(Edit(start, start + 1, "-"))  # Discord knows no such bullet

    def _quote(self, token: Token) -> None:
        assert token.map is not None
        for line in range(*token.map):
            # To Discord three signs quote all that follows, to the end of the message.
            if sign := re.match(r" *(>>>) ", self.lines[line]):
                start = self.starts[line] + sign.start(1)
                self.edits.append(Edit(start, start + 3, "> > >"))

    def _container(self, line: int) -> int:
        """Return the column of ``line`` behind the signs of quotes, and of lists that begin there."""
        match = (_CONTAINERS if line in self.item_lines else _QUOTED).match(self.lines[line])
        assert match is not None
        return match.end()

    # --- code --------------------------------------------------------------------------------------------------------

    def _fence(self, token: Token) -> None:
        """Let a code block have the only fence that Discord knows, and nothing inside that would end it."""
        assert token.map is not None
        first, end = token.map
        inside = token.content.count("\n") + (not token.content.endswith("\n") and bool(token.content))
        closed = end - first - 1 > inside
        body_end = end - 1 if closed else end
        info = token.info.strip()
        opening = self.lines[first]
        column = opening.index(token.markup)
        # An empty block is none to Discord, which would take its closing fence for the opening one of the next.
        blank = "" if token.content.strip("\n") else f"\n{self._quote_signs(first)} "
        words = info.split(maxsplit=1)
        if column == 0 and words and (len(words) > 1 or not _LANGUAGE.fullmatch(info)):
            # To Discord it would be the first line of the code, which then has no colours either.
            language = words.pop(0) if _LANGUAGE.fullmatch(words[0]) else ""
            self._replace(first, 0, f"-# {inline_code(' '.join(words), 10 * len(info))}\n```{language}{blank}")
        elif token.markup != "```" or "`" in info or blank:
            self._replace(first, column, f"```{info.replace('`', 'ˋ')}{blank}")
        for line in range(first + 1, min(body_end, len(self.lines))):
            for run in _RUN.finditer(self.lines[line]):
                offset = self.starts[line] + run.end()
                self.edits.append(Edit(offset, offset, _ZERO_WIDTH_SPACE))
        indent = opening[:column] if column == len(opening) - len(opening.lstrip()) else " " * column
        if not closed:
            # Ended by the end of its list, of its quote, or of the text.
            last = self.starts[end - 1] + len(self.lines[end - 1])
            self.edits.append(Edit(last, last, f"\n{self._quote_signs(first) or indent}```"))
        elif token.markup != "```" or self.lines[end - 1].strip(" \t>") != "```":
            match = _QUOTED.match(self.lines[end - 1])
            assert match is not None
            self._replace(end - 1, match.end(), "```")

    def _quote_signs(self, line: int) -> str:
        match = _QUOTED.match(self.lines[line])
        return match[0] if match and ">" in match[0] else ""

    def _indented_code(self, token: Token) -> None:
        """Fence code that is only indented: in Discord its signs would have effects."""
        assert token.map is not None
        # 1. At the front it may be the rest of a list that began in the message above.
        # 2. In a list it is more often a wrong indentation than code.
        # 3. A fence that is indented too far is one to Discord, and to the person who wrote it.
        first = token.map[0]
        if token.level or not "".join(self.lines[:first]).strip() or re.match(r"\s*(?:```|~~~)", token.content):
            return
        content = token.content.strip("\n")
        lines = content.count("\n") + 1
        while not self.lines[first].strip():
            first += 1
        self._replace(first, 0, f"```\n{without_fences(content)}\n```", last=first + lines - 1)

    # --- tables ------------------------------------------------------------------------------------------------------

    def _table(self, token: Token) -> None:
        assert token.map is not None
        first, end = token.map
        column = self._container(first)
        indent = _QUOTED.match(self.lines[first])
        assert indent is not None
        around = indent[0] if column == indent.end() else " " * column
        rows = [cells_of(self.lines[first][column:])]
        rows += [
            cells_of(self.lines[line].lstrip(" \t>" if ">" in around else " \t")) for line in range(first + 2, end)
        ]
        aligns = [cell.strip() for cell in self.lines[first + 1].strip(" \t>|").split("|")]
        columns = max(map(len, rows))
        rows = [row + [""] * (columns - len(row)) for row in rows]
        shown = aligned(rows, aligns) or listed(rows)
        if not shown:
            return  # a table of nothing
        lines = shown.split("\n")
        around_blank = around.rstrip()
        text = "\n".join([lines[0], *(f"{around}{line}" if line else around_blank for line in lines[1:])])
        self._replace(first, column, text, last=end - 1)


def _dedented(lines: list[str]) -> Iterator[str]:
    """Yield the lines for the parser: what is indented at the front goes on with a list above and is no code."""
    whole = "\n".join(lines)
    indent = len(whole) - len(whole.lstrip())
    first = whole[:indent].rpartition("\n")[2]
    depth = len(first) if len(first.expandtabs(4)) >= 4 and indent < len(whole) else 0
    for line in lines:
        # Until a line is less indented; a blank line is no end.
        if depth and line.strip() and line[:depth].strip():
            depth = 0
        yield line[depth:] if depth else line


def _with_ends_in_place(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines for the parser; a fence of an item that ends further left ends, and is not the next one's begin.

    That is how people and agents write it, and what Discord shows.
    """
    column, marker, begun = 0, "", False
    for line in lines:
        found = _FENCE.match(line)
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        if not marker:
            if found and not ("`" in found["marker"] and "`" in found["info"]):
                column, marker, begun = len(found["before"].expandtabs(4)), found["marker"], False
        elif found and found["marker"].startswith(marker) and not (found["before"].strip() or found["info"].strip()):
            if begun and indent < column:
                line = " " * column + found["marker"]  # noqa: PLW2901  only the parser sees it
            marker = ""
        elif line.strip() and indent < column:
            marker = ""  # the item has ended, and the fence with it
        else:
            begun = begun or bool(line.strip())
        yield line
