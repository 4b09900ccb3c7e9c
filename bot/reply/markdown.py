"""An agent's Markdown, which is GitHub's, in the dialect that Discord shows (pure).

markdown-it says what the text means; only what Discord would show otherwise is replaced, by its place in the source,
and everything else stays as it is, byte for byte. A message is converted by itself, so the result depends on nothing
but its text; how an answer is cut into messages is decided in `bot.reply.split`. Of a text that still grows, the last
line counts only for what no further character can turn into something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_inline import StateInline, autolink, backtick, escape, image, link
from markdown_it.token import Token
from wcwidth import wcswidth

from bot.reply.sanitise import inline_code

TABLE_WIDTH = 60
"""Cells of a monospaced font: the widest table that is shown as one; a phone breaks the lines of a wider one."""

RULE = "─" * 10
_ZERO_WIDTH_SPACE = "\u200b"
_LONGEST_HEADING = 100
_MOST_BRACKETS = 200
"""In one paragraph: for each of them all that follows is read, and all threads wait meanwhile."""
_RUN = re.compile("`(?=``)")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+\-.#]+")
_QUOTED = re.compile(r"[ \t>]*")
_CONTAINERS = re.compile(r"(?:[ \t]*(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*")
_FENCE = re.compile(
    r"(?P<before>(?:[ \t]*(?:[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*)(?P<marker>`{3,}|~{3,})(?P<info>.*)"
)
_CLOSING_HASHES = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")
_LINE_BREAK = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)
_MASKED = re.compile(r"\]\((?=\s*<?[a-z\\]+:)", re.IGNORECASE)
_HIDING = re.compile(
    r"(?P<escaped>\\\])(?=\(\s*<?[a-z\\]+:)"
    r"|\\[^\w\s]"
    r"|```(?:[\w+\-.#]+?\n)?\n*[^\n][\s\S]*?\n*```"
    r"|(?P<ticks>`+)[\s\S]*?[^`](?P=ticks)(?!`)"
    r"|<https?://[^\s>]*>"
    r"|(?P<link>\]\()(?=\s*<?[a-z\\]+:)"
    r"|(?P<bars>\|\|)"
    r"|(?P<bracket>\[)",
    re.IGNORECASE,
)
"""What Discord finds first at each place: in code and behind a backslash nothing has an effect."""
_BLOCK_SIGN = re.compile(r"(?:-?#{1,3}|>{1,3}|[-*+])[ \t]")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?://|mailto:|file://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Edit:
    """Put ``text`` in place of the characters from ``start`` to ``end``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Span:
    """A piece of inline syntax, with that inside of it; ``label_end`` is where the text of a link or image ends."""

    kind: str
    start: int
    end: int
    inner: tuple[_Span, ...] = ()
    label_end: int = 0
    target: str = ""
    title: str = ""


def for_discord(text: str) -> str:
    """Return ``text``, which has no carriage returns, as Discord has to get it to show what its author meant."""
    return with_nothing_hidden(_Document(text).converted())


def with_nothing_hidden(text: str) -> str:
    """Return ``text``, as Discord gets it, without what would cover something: spoilers, and links still masked."""
    if "](" not in text and "||" not in text:
        return text
    # To Discord a link begins before the code that its words end in: without its bracket there is none.
    in_code = [found for found in _HIDING.finditer(text) if found[0][0] == "`" and _MASKED.search(found[0])]
    last = in_code[-1].start() if in_code else 0

    def uncovered(found: re.Match[str]) -> str:
        if found["link"] or found["escaped"]:
            return f"{found[0][:-1]}\\(" if found["link"] else f"{found[0]}\\"
        if found["bracket"] and found.start() < last:
            return "\\["
        return "\\|\\|" if found["bars"] else found[0]

    return _HIDING.sub(uncovered, text)


# --- blocks ----------------------------------------------------------------------------------------------------------


class _Document:
    """One text with the edits that are due in it, by offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.edits: list[_Edit] = []
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
        return _applied(self.text, self.edits)

    def _replace(self, line: int, start: int, text: str, *, last: int | None = None) -> None:
        """Put ``text`` from a column of ``line`` to the end of that line, or of the line ``last``."""
        last = line if last is None else last
        self.edits.append(_Edit(self.starts[line] + start, self.starts[last] + len(self.lines[last]), text))

    def _is_open(self, line: int) -> bool:
        """Return whether more characters may come in ``line``."""
        return line >= len(self.lines) - 1

    def _paragraph(self, token: Token, *, task: bool) -> None:
        edits = _inline_edits(token.content)
        if task and (box := re.match(r"\[([ xX])\](?=[ \t])", token.content)):
            edits = [_Edit(0, 3, "☐" if box[1] == " " else "☑"), *edits]
        self._in_place(token, edits)

    def _in_place(self, token: Token, edits: Sequence[_Edit]) -> None:
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

        self.edits += [_Edit(place(edit.start), place(edit.end), edit.text) for edit in edits]

    def _heading(self, token: Token, content: Token) -> None:
        assert token.map is not None
        first, end = token.map
        level, line = int(token.tag[1:]), self.lines[first]
        if token.markup[0] == "#":
            if level <= 3 or not content.content:
                self._in_place(content, _inline_edits(content.content))
            else:
                self._replace(first, line.index(token.markup), _bold(content.content))
            return
        underline = end - 1
        if self._is_open(underline):
            self._in_place(content, _inline_edits(content.content))
        elif underline - first > 1 or len(content.content) > _LONGEST_HEADING:
            # A whole paragraph in large letters is meant by nobody: the line below it is.
            self._in_place(content, _inline_edits(content.content))
            self._rule(underline)
        else:
            column = line.rstrip().rfind(content.content)
            self._replace(first, column, f"{'#' * level} {_converted_inline(content.content)}", last=underline)

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
            self.edits.append(_Edit(start, start + 1, "-"))  # Discord knows no such bullet

    def _quote(self, token: Token) -> None:
        assert token.map is not None
        for line in range(*token.map):
            # To Discord three signs quote all that follows, to the end of the message.
            if sign := re.match(r" *(>>>) ", self.lines[line]):
                start = self.starts[line] + sign.start(1)
                self.edits.append(_Edit(start, start + 3, "> > >"))

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
                self.edits.append(_Edit(offset, offset, _ZERO_WIDTH_SPACE))
        indent = opening[:column] if column == len(opening) - len(opening.lstrip()) else " " * column
        if not closed:
            # Ended by the end of its list, of its quote, or of the text.
            last = self.starts[end - 1] + len(self.lines[end - 1])
            self.edits.append(_Edit(last, last, f"\n{self._quote_signs(first) or indent}```"))
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
        broken = _RUN.sub(f"`{_ZERO_WIDTH_SPACE}", content)
        self._replace(first, 0, f"```\n{broken}\n```", last=first + lines - 1)

    # --- tables ------------------------------------------------------------------------------------------------------

    def _table(self, token: Token) -> None:
        assert token.map is not None
        first, end = token.map
        column = self._container(first)
        indent = _QUOTED.match(self.lines[first])
        assert indent is not None
        around = indent[0] if column == indent.end() else " " * column
        rows = [_cells(self.lines[first][column:])]
        rows += [_cells(self.lines[line].lstrip(" \t>" if ">" in around else " \t")) for line in range(first + 2, end)]
        aligns = [cell.strip() for cell in self.lines[first + 1].strip(" \t>|").split("|")]
        columns = max(map(len, rows))
        rows = [row + [""] * (columns - len(row)) for row in rows]
        shown = _aligned(rows, aligns) or _listed(rows)
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


def _cells(row: str) -> list[str]:
    """Return the cells of a row, also those for which the table has no column."""
    cells = escapedSplit(row.strip())
    cells = cells[1:] if cells and not cells[0] else cells
    cells = cells[:-1] if cells and not cells[-1] else cells
    # What only breaks lines is an empty cell, and no reason against a table.
    return [cell.strip() if _LINE_BREAK.sub("", cell).strip() else "" for cell in cells]


def _aligned(rows: list[list[str]], aligns: Sequence[str]) -> str:
    """Return a table as a code block; empty if it is too wide, or has what can't stand in code: links, line breaks."""
    plain = [[_plain(cell) for cell in row] for row in rows]
    if any(cell is None for row in plain for cell in row):
        return ""
    texts = [[cell or "" for cell in row] for row in plain]
    widths = [max(_width(row[column]) for row in texts) for column in range(len(rows[0]))]
    if sum(widths) + 2 * (len(widths) - 1) > TABLE_WIDTH:
        return ""
    head, *body = (
        [_padded(cell, width, side) for cell, width, side in zip(row, widths, _sides(aligns), strict=False)]
        for row in texts
    )
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(["```", *("  ".join(line).rstrip() for line in lines), "```"])


def _sides(aligns: Sequence[str]) -> Iterator[str]:
    for align in aligns:
        yield ("center" if align.startswith(":") else "right") if align.endswith(":") else "left"
    while True:
        yield "left"


def _width(text: str) -> int:
    """Return how many cells a text takes: CJK and emoji take two."""
    width = wcswidth(text)
    return width if width >= 0 else len(text)


def _padded(text: str, width: int, side: str) -> str:
    room = width - _width(text)
    left = {"left": 0, "right": room, "center": room // 2}[side]
    return " " * left + text + " " * (room - left)


def _listed(rows: list[list[str]]) -> str:
    """Return a table with the names of its columns at each value, a blank line between two rows."""
    head, *body = rows
    body = [row for row in body if any(row)]
    if not body:
        return "\n".join(_value(name) for name in head if name)
    names = [_bold(f"{name.rstrip(':')}:") if name else "" for name in head]
    groups = []
    for number, row in enumerate(body):
        # A column without any value has its name in the first group, or that would be lost.
        said = [
            bool(row[column]) or (not number and not any(one[column] for one in body)) for column in range(len(row))
        ]
        lines = [f"{name} {_value(cell)}".strip() for name, cell, says in zip(names, row, said, strict=True) if says]
        groups.append("\n".join(line for line in lines if line))
    return "\n\n".join(group for group in groups if group)


def _value(cell: str) -> str:
    return "\n".join(part.strip() for part in _LINE_BREAK.split(_converted_inline(cell)))


def _plain(cell: str) -> str | None:
    """Return a cell's text without its Markdown; None if it can't stand in a code block."""
    if _LINE_BREAK.search(cell) or _WEB.search(cell):
        return None
    words = []
    for token in _inline_tokens(cell):
        if token.type in ("link_open", "image"):
            return None
        words.append(token.content if token.type != "softbreak" else " ")
    return _RUN.sub(f"`{_ZERO_WIDTH_SPACE}", "".join(words))


# --- inline ----------------------------------------------------------------------------------------------------------


def _applied(text: str, edits: Sequence[_Edit]) -> str:
    pieces, end = [], 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        if edit.start < end:
            continue  # inside of what was replaced as a whole
        pieces += [text[end : edit.start], edit.text]
        end = edit.end
    return "".join([*pieces, text[end:]])


def _converted_inline(content: str) -> str:
    return _applied(content, _inline_edits(content))


def _bold(content: str) -> str:
    """Return inline content as bold text; what is bold in it already is not marked twice."""
    spans = _spans(content)
    codes = [span for span in _flat(spans) if span.kind in ("code", "escape")]
    marks = [
        _Edit(mark.start(), mark.end(), "")
        for mark in re.finditer(r"\*\*|__", content)
        if mark[0] in _strong_marks(content)
        and not any(code.start < mark.end() and mark.start() < code.end for code in codes)
    ]
    return f"**{_applied(content, [*marks, *_inline_edits(content, spans)])}**"


def _strong_marks(content: str) -> set[str]:
    return {token.markup for token in _inline_tokens(content) if token.type == "strong_open"}


def _inline_tokens(content: str) -> list[Token]:
    tokens: list[Token] = []
    _INLINE.inline.parse(content, _INLINE, {}, tokens)
    return tokens


def _spans(content: str) -> list[_Span]:
    """Return the inline syntax of ``content`` that matters here, in order."""
    spans: list[_Span] = []
    parser = _SPANS_OF if content.count("[") <= _MOST_BRACKETS else _CODE_SPANS_OF
    parser.inline.parse(content, parser, {_SPANS: spans}, [])
    return spans


def _flat(spans: Sequence[_Span]) -> Iterator[_Span]:
    for span in spans:
        yield span
        yield from _flat(span.inner)


def _inline_edits(content: str, spans: Sequence[_Span] | None = None) -> list[_Edit]:
    """Return what is to be replaced in the text of a paragraph, a heading or a cell."""
    paired = "``" not in content and "\\" not in content and content.count("`") % 2 == 0
    if paired and "](" not in content:
        return []  # as most paragraphs are, and parsing them is most of the cost
    return list(_span_edits(content, _spans(content) if spans is None else spans))


def _span_edits(content: str, spans: Sequence[_Span]) -> Iterator[_Edit]:
    for span in spans:
        if span.kind == "ticks":
            # Without a partner here, they would find one further below, in another paragraph.
            yield _Edit(span.start, span.end, "\\`" * (span.end - span.start))
        elif span.kind == "image":
            alt = content[span.start + 2 : span.label_end].strip() or "image"
            yield _Edit(span.start, span.end, f"{alt} ({_shown_target(span)})")
        elif span.kind == "link":
            label = content[span.start + 1 : span.label_end]
            if not label.strip() or _is_same(label, span.target):
                yield _Edit(span.start, span.end, _named_by_itself(label, span))
                continue
            # Discord shows no other target than the web's, and hides that behind the words.
            at_front = not content[: span.start].rpartition("\n")[2].strip()
            sign = "\\" if at_front and _BLOCK_SIGN.match(label) else ""
            yield _Edit(span.start, span.start + 1, sign)
            yield from _span_edits(content, span.inner)
            yield _Edit(span.label_end, span.end, f" ({_shown_target(span)})")


def _named_by_itself(label: str, span: _Span) -> str:
    if _WEB.match(span.target) or not label.strip():
        return _shown_target(span)
    title = f' "{span.title}"' if span.title else ""
    return f"{label if '`' in label or '@' in label else inline_code(label, 2 * len(label) + 2)}{title}"


def _shown_target(span: _Span) -> str:
    title = f' "{span.title}"' if span.title else ""
    if not _WEB.match(span.target):
        return inline_code(span.target or "…", 9 * len(span.target) + 9) + title
    address = span.target
    if not re.fullmatch(r"[^\s<>]+", address):
        address = _INLINE.normalizeLink(address).replace("<", "%3C").replace(">", "%3E")
    return f"<{address}>{title}"


def _is_same(label: str, target: str) -> bool:
    """Return whether a link's text is its target, apart from what nobody reads."""
    plain = [_SCHEME.sub("", one.strip().strip("`"), count=1).rstrip("/") for one in (label, target)]
    return plain[0] == plain[1]


# --- the parser ------------------------------------------------------------------------------------------------------

_SPANS = "spans"
_Rule = Callable[[StateInline, bool], bool]


def _recording(kind: str, rule: _Rule) -> _Rule:
    """Return an inline rule that also says where it matched: tokens of inline syntax have no place in the source."""

    def recorded(state: StateInline, silent: bool) -> bool:
        spans: list[_Span] = state.env.setdefault(_SPANS, [])
        start, before = state.pos, len(spans)
        if not rule(state, silent):
            return False
        if not silent:
            inner = tuple(spans[before:])
            del spans[before:]
            spans.append(_span(kind, start, state, inner))
        return True

    return recorded


def _span(kind: str, start: int, state: StateInline, inner: tuple[_Span, ...]) -> _Span:
    if kind == "code" and (not state.tokens or state.tokens[-1].type != "code_inline" or state.pending):
        return _Span("ticks", start, state.pos)
    if kind not in ("link", "image"):
        return _Span(kind, start, state.pos)
    label = state.md.helpers.parseLinkLabel(state, start + (kind == "image"), kind == "link")
    # What stands in the words of a link has tokens, too, and is none with words of its own.
    sort = "image" if kind == "image" else "link_open"
    opened = next(one for one in reversed(state.tokens) if one.type == sort and one.markup != "autolink")
    target = state.md.helpers.parseLinkDestination(state.src, _behind_blanks(state.src, label + 2), state.posMax)
    # An image's own text was parsed apart, with offsets that mean nothing here.
    return _Span(
        kind,
        start,
        state.pos,
        inner if kind == "link" else (),
        label,
        target.str,
        str(opened.attrs.get("title", "")),
    )


def _behind_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _parser(*inline: str) -> MarkdownIt:
    """Return a parser that knows no HTML and no definitions, and only these rules of inline syntax."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # Definitions stay as they are, and with them what refers to them: they may stand in another message.
    parser.disable(["reference", "html_block", "html_inline", "entity"])
    # Nothing is fetched or run from here: a target of any kind is shown.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    rules: dict[str, tuple[str, _Rule]] = {
        "backticks": ("code", backtick),
        "escape": ("escape", escape),
        "link": ("link", link),
        "image": ("image", image),
        "autolink": ("autolink", autolink),
    }
    if inline:
        parser.inline.ruler.enableOnly(["text", *inline])
        parser.inline.ruler2.enableOnly([])
        for name in inline:
            kind, rule = rules[name]
            parser.inline.ruler.at(name, _recording(kind, rule))
    return parser


_INLINE = _parser()
_SPANS_OF = _parser("backticks", "escape", "link", "image", "autolink")
_CODE_SPANS_OF = _parser("backticks", "escape", "autolink")
_BLOCKS = _parser()
_BLOCKS.core.ruler.enableOnly(["normalize", "block"])  # of most paragraphs no inline syntax matters
