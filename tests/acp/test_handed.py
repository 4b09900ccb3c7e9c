"""Files that an agent hands over as content blocks: taken once, within bounds (F7)."""

from __future__ import annotations

import base64
from typing import Any

from acp.handed import HandedFile, HandedFiles, HandedLink
from acp.schema import ContentBlock, decode_update
from acp.snapshot import TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits

PNG = b"\x89PNG\r\n\x1a\n and so on"
LIMITS = TurnLimits(files=3, file_bytes=100)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image(data: bytes = PNG, **fields: Any) -> dict[str, Any]:
    return {"type": "image", "data": encoded(data), "mimeType": "image/png", **fields}


def resource(**fields: Any) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": "file:///work/report.pdf", **fields}}


def fed(*updates: dict[str, Any], limits: TurnLimits = LIMITS) -> TurnSnapshot:
    turn = Turn(limits, 0.0)
    for update in updates:
        turn.feed(decode_update(update), 0.0)
    return turn.snapshot()


def chunk(block: dict[str, Any]) -> dict[str, Any]:
    return {"sessionUpdate": "agent_message_chunk", "content": block}


def tool(*blocks: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "content", "content": block} for block in blocks]
    return {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "content": content}


def test_an_image_in_the_answer_is_a_file_and_no_word_stands_for_it() -> None:
    seen = fed(chunk({"type": "text", "text": "Here:"}), chunk(image(uri="file:///work/plot.png")))
    assert seen.text == "Here:"
    assert seen.files == (HandedFile("image", "plot.png", "image/png", PNG),)


def test_sounds_and_resources_are_files_too() -> None:
    sound = {"type": "audio", "data": encoded(b"sound"), "mimeType": "audio/ogg"}
    seen = fed(chunk(sound), chunk(resource(blob=encoded(b"%PDF"), mimeType="application/pdf")))
    assert [(one.kind, one.name, one.mime_type, one.data) for one in seen.files] == [
        ("audio", "", "audio/ogg", b"sound"),
        ("resource", "report.pdf", "application/pdf", b"%PDF"),
    ]


def test_a_text_and_a_link_in_the_answer_stay_part_of_it() -> None:
    link = {"type": "resource_link", "uri": "https://example.org/a", "name": "a"}
    seen = fed(chunk(resource(text="the words")), chunk(link))
    assert seen.text == "the words[a](https://example.org/a)"
    assert (seen.files, seen.links) == ((), ())


def test_a_tool_that_shows_the_same_again_hands_it_over_once() -> None:
    link = {"type": "resource_link", "uri": "https://example.org/a", "name": "a"}
    shown = tool(image(), link, resource(text="words"))
    seen = fed(shown, shown, chunk(image()))
    assert [one.data for one in seen.files] == [PNG, b"words"]
    assert seen.links == (HandedLink("a", "https://example.org/a"),)
    assert seen.text == ""


def test_what_is_about_to_happen_hands_nothing_over() -> None:
    turn = Turn(LIMITS, 0.0)
    update = decode_update(tool(image()))
    turn.permission_opened("p", update, 0.0)  # type: ignore[arg-type]
    assert turn.snapshot().files == ()


def test_files_beyond_the_bounds_are_counted_once_and_their_word_stays() -> None:
    large = image(b"x" * 101)
    small = [chunk(image(data)) for data in (b"1", b"2", b"3", b"4")]
    seen = fed(chunk(large), tool(large), *small)
    assert [one.data for one in seen.files] == [b"1", b"2", b"3"]
    assert seen.files_cut == 2
    assert seen.text == "[image]\n\n[image]"  # a tool call stood between them


def test_what_is_no_base64_is_no_file() -> None:
    seen = fed(chunk({"type": "image", "data": "a", "mimeType": "image/png"}), chunk({"type": "image"}))
    assert (seen.files, seen.files_cut, seen.text) == ((), 0, "[image][image]")


def test_links_are_bounded() -> None:
    handed = HandedFiles(1, 1)
    blocks = [{"type": "resource_link", "uri": f"u:{number}"} for number in range(30)]
    update = decode_update(tool(*blocks))
    handed.take_from_tool(update.content)  # type: ignore[union-attr, arg-type]
    assert len(handed.links) == 20
    assert not handed.take_from_message(ContentBlock(type="audio"))


def test_what_an_agent_says_of_a_file_or_a_link_is_bounded() -> None:
    long = "u:" + "x" * 100_000
    link = {"type": "resource_link", "uri": long, "name": long}
    seen = fed(tool(link), chunk(image(uri=f"file:///{long}.png", mimeType=long)))
    ((name, uri),) = [(one.name, one.uri) for one in seen.links]
    assert len(name) == len(uri) == 1000
    (file,) = seen.files
    assert (len(file.name), len(file.mime_type), file.name[-6:]) == (1000, 1000, "xx.png")
