"""Inline Markdown in the dialect that Discord shows: links, images, code, and what would cover something (pure).

markdown-it says what the text of a paragraph, a heading or a cell means; what Discord would show otherwise is returned
as edits by their places in it. Blocks are the subject of `bot.reply.markdown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, autolink, backtick, escape, image, link
from markdown_it.token import Token

from bot.reply.sanitise import inline_code

_MOST_BRACKETS = 200
"""In one paragraph: for each of them all that follows is read, and all threads wait meanwhile."""
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
WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?://|mailto:|file://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edit:
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


def applied(text: str, edits: Sequence[Edit]) -> str:
    """Return ``text`` with the edits made; of two that overlap, the first counts."""
    pieces, end = [], 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        if edit.start < end:
            continue  # inside of what was replaced as a whole
        pieces += [text[end : edit.start], edit.text]
        end = edit.end
    return "".join([*pieces, text[end:]])


def converted_inline(content: str) -> str:
    """Return inline content with everything replaced that has to be."""
    return applied(content, inline_edits(content))


def bold(content: str) -> str:
    """Return inline content as bold text; what is bold in it already is not marked twice."""
    spans = _spans(content)
    codes = [span for span in _flat(spans) if span.kind in ("code", "escape")]
    marks = [
        Edit(mark.start(), mark.end(), "")
        for mark in re.finditer(r"\*\*|__", content)
        if mark[0] in _strong_marks(content)
        and not any(code.start < mark.end() and mark.start() < code.end for code in codes)
    ]
    return f"**{applied(content, [*marks, *inline_edits(content, spans)])}**"


def _strong_marks(content: str) -> set[str]:
    return {token.markup for token in inline_tokens(content) if token.type == "strong_open"}


def inline_tokens(content: str) -> list[Token]:
    """Return the tokens of inline content; they have no places in it."""
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


def inline_edits(content: str, spans: Sequence[_Span] | None = None) -> list[Edit]:
    """Return what is to be replaced in the text of a paragraph, a heading or a cell."""
    paired = "``" not in content and "\\" not in content and content.count("`") % 2 == 0
    if paired and "](" not in content:
        return []  # as most paragraphs are, and parsing them is most of the cost
    return list(_span_edits(content, _spans(content) if spans is None else spans))


def _span_edits(content: str, spans: Sequence[_Span]) -> Iterator[Edit]:
    for span in spans:
        if span.kind == "ticks":
            # Without a partner here, they would find one further below, in another paragraph.
            yield Edit(span.start, span.end, "\\`" * (span.end - span.start))
        elif span.kind == "image":
            alt = content[span.start + 2 : span.label_end].strip() or "image"
            yield Edit(span.start, span.end, f"{alt} ({_shown_target(span)})")
        elif span.kind == "link":
            label = content[span.start + 1 : span.label_end]
            if not label.strip() or _is_same(label, span.target):
                yield Edit(span.start, span.end, _named_by_itself(label, span))
                continue
            # Discord shows no other target than the web's, and hides that behind the words.
            at_front = not content[: span.start].rpartition("\n")[2].strip()
            sign = "\\" if at_front and _BLOCK_SIGN.match(label) else ""
            yield Edit(span.start, span.start + 1, sign)
            yield from _span_edits(content, span.inner)
            yield Edit(span.label_end, span.end, f" ({_shown_target(span)})")


def _named_by_itself(label: str, span: _Span) -> str:
    if WEB.match(span.target) or not label.strip():
        return _shown_target(span)
    title = f' "{span.title}"' if span.title else ""
    return f"{label if '`' in label or '@' in label else inline_code(label, 2 * len(label) + 2)}{title}"


def _shown_target(span: _Span) -> str:
    title = f' "{span.title}"' if span.title else ""
    if not WEB.match(span.target):
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


def new_parser(*inline: str) -> MarkdownIt:
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


_INLINE = new_parser()
_SPANS_OF = new_parser("backticks", "escape", "link", "image", "autolink")
_CODE_SPANS_OF = new_parser("backticks", "escape", "autolink")
