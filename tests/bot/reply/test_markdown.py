"""An agent's Markdown in Discord's dialect (V4)."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from wcwidth import wcswidth

from bot.reply.markdown import for_discord
from bot.reply.markdown_table import TABLE_WIDTH
from tests.bot.reply.discord_reader import read

PIECES = st.sampled_from(
    [
        "```\n", "```py\n", "```", "~~~\n", "~~~ruby startline=3\n", "   ```sh\n", "````md\n", "````\n", "``", "`",
        "\n", "\n\n", " ", "    ", "\t", "| a | b |\n", "|---|:-:|\n", "| c | `d` |\n", "word ", "other", "||", "|",
        "- ", "- [ ] ", "- [x] ", "1. ", "> ", ">>> ", "# ", "##### ", "---\n", "===\n", "***\n", "+ ", "**", "\\",
        "[text](https://example.org/a)", "[https://a.org](https://b.org)", "](", "[", "![alt](x.png \"title\")", ")",
        "](https://b.org)", "\\](https://b.org)",
        "<b>bold</b>", "$x_1 + y_1$", "\u6f22\u5b57", "\U0001f600", "code();\n", "<https://a.org>", "[^1]", "[x]: /y\n",
    ]
)  # fmt: skip
TEXTS = st.lists(
    PIECES | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8), max_size=30
).map("".join)
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, **bold**, *italic*, ~~gone~~ and `code`.\n\n# Title\n\n### Third\n\n- a\n  - b\n    - c\n1. d\n",
        "```py\nx = '[a](https://b.org) || ||'\n```\n",
        "Look:\n\n```\n| a | b |\n|---|---|\n#### no heading\n- [ ] no task\n```\n",
        "`[a](https://b.org)` and ``a ` b`` and `- [ ]`\n",
        "$$\\frac{a}{b}$$ and $x_1 + y_1$ and \\(z\\)\n",
        "<details>\n<summary>More</summary>\n\nText &amp; more<br>\n</details>\n<!-- no comment -->\n",
        "A claim.[^1]\n\n[^1]: Its source.\n",
        "See [the docs][1].\n\n[1]: https://example.org\n",
        "https://example.org and <https://example.org>\n",
        "  - odd   spaces \n\n\n\tand tabs\n",
        "a | b\nand no table\n",
        "| a | b |\n",
        "this || that\n",
    ],
)
def test_what_discord_shows_as_it_was_meant_stays_byte_for_byte(text: str) -> None:
    """V4"""
    if "||" in text and "```" not in text:
        assert for_discord(text) == text.replace("||", "\\|\\|")
    else:
        assert for_discord(text) == text


def test_a_table_is_a_code_block_with_aligned_columns() -> None:
    """V4"""
    table = "| Name | Price |\n|:--|--:|\n| `tea` | **3** |\n| coffee \\| milk | 10 |\n"
    assert for_discord(table) == (
        "```\nName           Price\n-------------  -----\ntea                3\ncoffee | milk     10\n```\n"
    )


def test_cjk_and_emoji_take_two_cells() -> None:
    """V4"""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    table = f"| a | b |\n|---|---|\n| 漢字かな | 1 |\n| \U0001f600 | 2 |\n| {family} | 3 |\n| abc | 4 |\n"
    rows = for_discord(table).split("\n")[3:-2]
    assert [wcswidth(row) for row in rows] == [11] * 4
    assert [row[-1] for row in rows] == list("1234")


def test_a_table_of_sixty_cells_is_one_and_a_wider_one_a_list() -> None:
    """V4"""
    fits, too_wide = "x" * (TABLE_WIDTH - 3), "x" * (TABLE_WIDTH - 2)
    assert for_discord(f"|A|B|\n|-|-|\n|{fits}|1|\n") == f"```\n{'A':57}  B\n{'-' * 57}  -\n{fits}  1\n```\n"
    assert for_discord(f"|A|B|\n|-|-|\n|{too_wide}|1|\n|2||\n") == f"**A:** {too_wide}\n**B:** 1\n\n**A:** 2\n"


def test_a_table_with_links_or_line_breaks_is_a_list_since_code_has_none() -> None:
    """V4"""
    table = "| Name | Where |\n|---|---|\n| a | [docs](https://a.org/x) |\n| b | one<br>two |\n"
    assert for_discord(table) == (
        "**Name:** a\n**Where:** docs (<https://a.org/x>)\n\n**Name:** b\n**Where:** one\ntwo\n"
    )


def test_a_cell_that_only_breaks_lines_is_empty() -> None:
    """V4"""
    assert for_discord("| a | b |\n|---|---|\n| <br> | 2<br>3 |\n|<br/>||\n") == "**a:**\n**b:** 2\n3\n"
    assert for_discord("| a |\n|---|\n| <br><BR /> |\n") == "```\na\n-\n\n```\n"


def test_the_name_of_a_column_without_values_is_not_lost() -> None:
    """V4"""
    wide = "x" * TABLE_WIDTH
    assert for_discord(f"|A|B|\n|-|-|\n|{wide}||\n|2||\n") == f"**A:** {wide}\n**B:**\n\n**A:** 2\n"
    assert for_discord("|[A](https://a.org)|B|\n|-|-|\n|||\n") == "A (<https://a.org>)\nB\n"


def test_cells_beyond_the_columns_of_the_table_are_not_lost() -> None:
    """V4"""
    assert for_discord("|a|b|\n|-|-|\n|1|2|3|\n") == "```\na  b\n-  -  -\n1  2  3\n```\n"


def test_a_table_in_a_list_or_a_quote_stays_there() -> None:
    """V4"""
    assert for_discord("1. Look:\n   | a | b |\n   |---|---|\n   | 1 | 2 |\n2. on\n") == (
        "1. Look:\n   ```\n   a  b\n   -  -\n   1  2\n   ```\n2. on\n"
    )
    assert for_discord("> | a | b |\n> |---|---|\n> | 1 | 2 |\n") == "> ```\n> a  b\n> -  -\n> 1  2\n> ```\n"


def test_a_table_that_still_grows_is_one_as_soon_as_its_second_row_is_there() -> None:
    """V4: what is shown of it changes once, and then only grows."""
    text = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    shown = [for_discord(text[:end]) for end in range(1, len(text) + 1)]
    first = next(number for number, one in enumerate(shown) if one.startswith("```"))
    assert text[: first + 1] == "| a | b |\n|---|-"
    assert all(one == text[: end + 1] for end, one in enumerate(shown[:first]))
    assert all(one.startswith("```\na  b\n-") and one.rstrip("\n").endswith("```") for one in shown[first:])


def test_a_heading_that_discord_does_not_know_is_bold() -> None:
    """V4"""
    assert for_discord("#### Deep\n##### **All of it**\n###### A **b** `**` ######\n### Third\n") == (
        "**Deep**\n**All of it**\n**A b `**`**\n### Third\n"
    )
    assert for_discord("- #### In a list\n") == "- **In a list**\n"
    assert for_discord("#### See [x](https://a.org)\n") == "**See x (<https://a.org>)**\n"


def test_an_underlined_heading_has_signs_in_front() -> None:
    """V4"""
    assert for_discord("Title\n=====\n\nSub\n---\ntext\n") == "# Title\n\n## Sub\ntext\n"


def test_a_line_below_a_paragraph_makes_no_heading_of_it() -> None:
    """V4"""
    assert for_discord("one\ntwo\n---\nthree\n") == "one\ntwo\n──────────\nthree\n"


def test_the_last_line_makes_no_heading_or_rule_while_it_grows() -> None:
    """V4: it may become a list, and the paragraph above would flicker."""
    assert for_discord("Some things:\n-") == "Some things:\n-"
    assert for_discord("Some things:\n\n***") == "Some things:\n\n***"
    assert for_discord("Some things:\n\n***\n") == "Some things:\n\n──────────\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[docs](https://a.org/b)", "docs (<https://a.org/b>)"),
        ('[docs](https://a.org/b "The title")', 'docs (<https://a.org/b> "The title")'),
        ("[https://a.org](https://a.org/)", "<https://a.org/>"),
        ("[a.org/x](https://a.org/x)", "<https://a.org/x>"),
        ("[https://a.org](https://evil.org)", "https://a.org (<https://evil.org>)"),
        ("[`https://a.org`](https://evil.org)", "`https://a.org` (<https://evil.org>)"),
        ("[a.org\u200b](https://a.org)", "a.org\u200b (<https://a.org>)"),
        ("[a.org](https://\u0430.org)", "a.org (<https://\u0430.org>)"),
        ("[**bold** [x]](https://a.org)", "**bold** [x] (<https://a.org>)"),
        ("[](https://a.org)", "<https://a.org>"),
        ("[a](<https://a.org/x y>)", "a (<https://a.org/x%20y>)"),
        ("[app.py](/src/app.py:12)", "app.py (`/src/app.py:12`)"),
        ("[`app.py`](app.py)", "`app.py`"),
        ("[app.py](app.py)", "`app.py`"),
        ("[x](javascript:alert)", "x (`javascript:alert`)"),
        ("[me@a.org](mailto:me@a.org)", "me@a.org"),
        ("![A picture](https://a.org/p.png)", "A picture (<https://a.org/p.png>)"),
        ("![](p.png)", "image (`p.png`)"),
        ("[![badge](https://a.org/b.svg)](https://a.org)", "badge (<https://a.org/b.svg>) (<https://a.org>)"),
        ("[a](https://b.org 'x)", "[a]\\(https://b.org 'x)"),
        ("[# a](https://b.org)", "\\# a (<https://b.org>)"),
        ("[a](https\\://b.org 'x)", "[a]\\(https\\://b.org 'x)"),
        ("[a `b](https://c.org)`", "\\[a `b](https://c.org)`"),
        ("[a ``b](https://c.org)`` [d]", "\\[a ``b](https://c.org)`` [d]"),
        ("[a\\](https://b.org)", "[a\\]\\(https://b.org)"),
        ("[a <https://b.org>](https://c.org 'T')", 'a <https://b.org> (<https://c.org> "T")'),
        ("[![a](b.png)](https://c.org 'T')", 'a (`b.png`) (<https://c.org> "T")'),
    ],
)
def test_a_link_shows_where_it_leads(text: str, shown: str) -> None:
    """V4"""
    assert for_discord(text) == shown
    assert for_discord(f"> - {text} end\n") == f"> - {shown} end\n"


def test_a_link_over_two_lines_of_a_quote_is_converted_where_it_stands() -> None:
    """V4"""
    assert (
        for_discord("> see [the\n> docs](https://a.org) or\n> not\n")
        == "> see the\n> docs (<https://a.org>) or\n> not\n"
    )


def test_a_paragraph_of_brackets_costs_no_second() -> None:
    """V4: what is too cunning to read stays text, and no link in it hides."""
    shown = for_discord("[" * 1000 + "[a](https://b.org)" * 30)
    assert read(shown).masked == []
    assert shown.count("https://b.org") == 30


def test_tasks_have_boxes() -> None:
    """V4"""
    assert for_discord("- [ ] a\n  - [x] b [c](d)\n1. [X] e\n- [ ]\n- [y] f\n") == (
        "- ☐ a\n  - ☑ b c (`d`)\n1. ☑ e\n- [ ]\n- [y] f\n"
    )


def test_a_long_fence_is_the_only_one_that_discord_knows_and_ends_where_it_should() -> None:
    """V4"""
    text = "````md\nlook:\n```py\nx\n```\n````\nafter\n"
    assert read(for_discord(text)).blocks == ["look:\n`\u200b``py\nx\n`\u200b``"]
    assert for_discord(text).endswith("\n```\nafter\n")
    assert for_discord("~~~sh\nls\n~~~\n") == "```sh\nls\n```\n"
    assert for_discord("```sh\necho '```'\n```\n") == "```sh\necho '`\u200b``'\n```\n"
    assert for_discord("```sh\nls\n`````\n") == "```sh\nls\n```\n"


def test_what_stands_beside_the_language_of_a_fence_is_no_line_of_code() -> None:
    """V4"""
    assert for_discord('```py title="app.py"\nx\n```\n') == '-# `title="app.py"`\n```py\nx\n```\n'
    assert for_discord("~~~{r}\nx\n~~~\n") == "-# `{r}`\n```\nx\n```\n"
    assert for_discord("```12:15:src/a.ts\nx\n```\n") == "-# `12:15:src/a.ts`\n```\nx\n```\n"


def test_an_empty_code_block_does_not_swallow_what_follows() -> None:
    """V4"""
    assert read(for_discord("```\n```\n\nwords\n\n```py\nx\n```\n")).blocks == [" ", "x"]
    assert read(for_discord("```py\n\n\n```\nwords\n")).blocks == [" "]
    # In a quote every line has its sign, or the quote ends with half of the block.
    assert for_discord("> ```\n> ```\n> words\n") == "> ```\n>  \n> ```\n> words\n"


def test_a_code_block_that_its_list_ends_is_closed_there() -> None:
    """V4"""
    assert for_discord("- a\n  ```py\n  x\nwords\n") == "- a\n  ```py\n  x\n  ```\nwords\n"
    assert for_discord("> ```\n> x\n\nwords\n") == "> ```\n> x\n> ```\n\nwords\n"


@pytest.mark.parametrize("item", ["- a\n  ```py\n  x\n", "1. ```py\n   x\n\n   y\n", "- a\n  - b\n\n    ~~~\n    ``\n"])
def test_a_code_block_of_an_item_that_ends_further_left_is_one(item: str) -> None:
    """V4: what follows is no code, and there is no empty block."""
    sign = "~~~" if "~~~" in item else "```"
    shown = for_discord(f"{item}{sign}\n\nwords **and** `code`\n")
    assert shown == f"{item}{sign}\n\nwords **and** `code`\n".replace("~~~", "```")
    assert len(read(shown).blocks) == 1
    # Until the item has ended, that is: then it is the next one's begin.
    assert read(for_discord(f"{item}out\n{sign}\nwords\n{sign}\n")).blocks[1:] == ["words"]


def test_indented_code_is_fenced() -> None:
    """V4"""
    assert for_discord("Run:\n\n    *args\n\n      b\n\nwords\n") == "Run:\n\n```\n*args\n\n  b\n```\n\nwords\n"
    # The rest of a list from the message above is none.
    assert for_discord("    - item [a](https://b.org)\n    - two\n\nwords\n") == (
        "    - item a (<https://b.org>)\n    - two\n\nwords\n"
    )


def test_lone_backticks_find_no_partner_in_another_paragraph() -> None:
    """V4"""
    assert for_discord("a ` b\n\n`code` c ``` d\n") == "a \\` b\n\n`code` c \\`\\`\\` d\n"


def test_bars_cover_nothing() -> None:
    """V4"""
    assert for_discord("if a || b || `c || d` || \\|| e\n") == "if a \\|\\| b \\|\\| `c || d` \\|\\| \\|| e\n"


def test_three_signs_quote_only_their_own_lines() -> None:
    """V4"""
    assert for_discord(">>> deep\n\nout\n") == "> > > deep\n\nout\n"


def test_a_plus_is_no_bullet_to_discord() -> None:
    """V4"""
    assert for_discord("+ a\n  + b\n") == "- a\n  - b\n"


# --- whatever an agent says ------------------------------------------------------------------------------------------


def letters(text: str) -> Counter[str]:
    return Counter(character for character in text if character.isalnum())


def bare(text: str) -> list[str]:
    """The lines of code without what a list around it indents, and without what keeps a fence from ending it."""
    return [line.lstrip(" \t>").rstrip() for line in text.replace("\u200b", "").split("\n") if line.strip(" \t>")]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(TEXTS)
def test_no_word_is_lost_no_link_hides_where_it_leads_and_nothing_is_covered(text: str) -> None:
    """V4"""
    shown = for_discord(text)
    lost = letters(text) - letters(shown)
    # A box that is ticked has its sign for it.
    assert set(lost) <= {"x", "X"}
    assert lost.total() <= len(re.findall(r"\[[xX]\]", text))
    reading = read(shown)
    assert reading.masked == []
    assert reading.spoilers == []


CODE = st.text(st.sampled_from("ab `~|[](){}*_#->\n\\\u6f22"), min_size=1, max_size=60)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(st.tuples(TEXTS, CODE, st.sampled_from(["```", "````", "~~~", "~~~~~"])), max_size=4), TEXTS)
def test_the_content_of_code_blocks_is_never_changed(blocks: list[tuple[str, str, str]], end: str) -> None:
    """V4: but for what keeps a fence inside of it from ending it."""
    # Of a fence that is indented too far Discord and the parser think otherwise: there Discord counts.
    near, end = [(re.sub(r"[ \t]{2,}|\t", " ", prose), code, mark) for prose, code, mark in blocks], end.lstrip()
    text = "".join(f"{prose}\n\n{mark}\n{code}\n{mark}\n" for prose, code, mark in near)
    text += re.sub(r"[ \t]{2,}|\t", " ", end)
    meant = [token.content for token in MARKDOWN.parse(text) if token.type == "fence"]
    seen = [bare(block) for block in read(for_discord(text)).blocks]
    for block in meant:
        if bare(block):
            assert bare(block) in seen
