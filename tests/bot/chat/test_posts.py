"""Messages read from Discord's JSON, whatever is wrong with one of them."""

from __future__ import annotations

import copy
import dataclasses
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.inbound import Place, Post
from bot.chat.lookups import as_said
from bot.chat.posts import WHOLE, attachments, gist, place_of, post_of, posts_of
from bot.model import Actor, Attachment, Origin, Quote
from bot.work.prompt import frame

THREAD = Place(100, 300, parent_id=200, owner_id=1)
IMAGE = Attachment(5, "a.png", 2048, "image/png", "https://cdn.discordapp.com/a.png", 300, 1001)
Json = dict[str, Any]


def message(number: int, **changes: Any) -> Json:
    """Return a message with all that Weft looks at."""
    user = {"id": "11", "username": "ann", "global_name": "Ann", "bot": False}
    url = "https://cdn.discordapp.com/a.png"
    image = {"id": "5", "filename": "a.png", "content_type": "image/png", "size": 2048, "url": url}
    return {
        "id": str(1000 + number),
        "channel_id": "300",
        "guild_id": "100",
        "author": user,
        "member": {"nick": "Annie", "roles": ["21", "22"]},
        "content": f"<@7> number {number}",
        "type": 19,
        "flags": 32,
        "thread": {"id": str(1000 + number), "owner_id": "1"},
        "mentions": [{"id": "7"}, {"id": "12"}],
        "mention_roles": ["31"],
        "mention_everyone": False,
        "attachments": [image],
        "edited_timestamp": None,
        "reactions": [{"count": 1, "me": True, "emoji": {"name": "👀"}}],
        "message_reference": {"type": 0, "message_id": "900", "channel_id": "300"},
        "referenced_message": {"id": "900", "author": {"id": "12", "username": "bob"}, "content": "broken", "type": 0},
        "poll": {"question": {"text": "Ship it?"}, "answers": [{"poll_media": {"text": "yes"}}], "expiry": None},
        "sticker_items": [{"id": "1", "name": "Wave"}],
        "message_snapshots": [{"message": {"content": "look", "attachments": [image]}}],
        **changes,
    }


def test_all_that_matters_is_read() -> None:
    """D1, D8."""
    post = post_of(message(1), THREAD)
    assert post is not None
    assert post.original == Post(900, THREAD, Actor(12, "bob"), "broken", gist="broken")
    assert post == Post(
        1001,
        THREAD,
        Actor(11, "Annie", frozenset({21, 22, 100})),
        "<@7> number 1",
        mentions=frozenset({7}),
        crowds=frozenset({31}),
        attachments=(IMAGE, replace(IMAGE, origin=Origin.FORWARDED)),
        has_thread=True,
        thread_owner=1,
        reacted=True,
        quotes=(Quote("Forwarded message", "look"), Quote("Poll", "Ship it?\n- yes"), Quote("Sticker", "Wave")),
        gist="<@7> number 1\n(Forwarded message) look\n(Poll) Ship it?\n- yes\n(Sticker) Wave",
        original=post.original,
    )


@pytest.mark.parametrize(
    ("content", "mentions", "mentioned"),
    [
        ("thanks", [{"id": "7"}], set()),
        ("<@7> thanks", [{"id": "7"}, {"id": "12"}], {7}),
        ("`<@7>`", [], set()),
        ("<@!7> and <@12>", None, {7, 12}),
        (None, [{"id": "7"}], {7}),
    ],
    ids=["a reply's ping", "a mention and a ping", "in code", "an unknown list", "an unknown text"],
)
def test_only_whom_the_text_names_is_mentioned(content: str | None, mentions: object, mentioned: set[int]) -> None:
    """D1: the ping of a reply is no mention."""
    post = post_of(message(1, content=content, mentions=mentions), THREAD)
    assert post is not None
    assert post.mentions == mentioned


def test_a_reply_whose_original_is_not_told_names_it() -> None:
    """D8: one that was deleted is null, and nothing is said of it; a forwarded message is no reply."""
    untold = message(1)
    del untold["referenced_message"]
    for data, reference in [(untold, 900), (message(1, referenced_message=None), None), ({**untold, "type": 0}, None)]:
        post = post_of(data, THREAD)
        assert post is not None
        assert (post.original, post.reference) == (None, reference)


def test_previews_have_words() -> None:
    """D8: a forwarded message may consist of nothing else."""
    embed = {"title": "Build 7", "description": "failed", "fields": [{"name": "where", "value": "main"}, {}]}
    assert gist({"content": "", "embeds": [embed]}) == "Build 7\nfailed\nwhere: main"


def test_of_a_file_only_its_id_has_to_be_right() -> None:
    """F1: what has none can't be asked for."""
    odd = {"id": "7", "filename": ["?"], "size": -5, "url": None, "content_type": 3, "duration_secs": "long"}
    found = attachments({"id": "900", "attachments": [odd, None, {"filename": "a"}, {"id": "x"}]}, 300)
    assert found == (Attachment(7, "", 0, "", "", 300, 900),)
    vast = {"id": "7", "size": 10**4000, "duration_secs": 10**400}
    (one,) = attachments({"id": "900", "flags": 1 << 13, "attachments": [vast]}, 300)
    assert (one.size, one.duration) == (0, 0.0)


def test_a_voice_message_is_told_from_music_by_its_message() -> None:
    """F6"""
    sound = {"id": "7", "filename": "a.ogg", "duration_secs": 2.5}
    told = {"id": "900", "attachments": [sound, {"id": "8"}]}
    assert [one.duration for one in attachments(told | {"flags": 1 << 13}, 300)] == [2.5, 0.0]
    assert [one.duration for one in attachments(told, 300)] == [None, None]


def test_a_message_of_endless_files_has_some() -> None:
    """O4"""
    assert len(attachments({"id": "900", "attachments": [{"id": str(n + 1)} for n in range(5000)]}, 300)) == 100


def test_a_channel_that_cant_be_read_is_no_place() -> None:
    """D1."""
    assert place_of({"id": "300", "guild_id": "100", "type": 11, "parent_id": "200", "owner_id": "1"}) == THREAD
    assert place_of({"id": "300", "guild_id": "100", "type": [], "parent_id": "200"}) == Place(100, 300)
    assert place_of({"id": None}) is None
    assert place_of(None) is None


def test_an_update_of_a_preview_alone_says_nothing() -> None:
    """Q5."""
    assert message(1).keys() >= WHOLE
    assert not {"id": "1", "channel_id": "300", "embeds": []}.keys() >= WHOLE


def paths(data: object, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in an object."""
    found = [so_far] if so_far else []
    keys: list[Any] = list(data) if isinstance(data, dict) else list(range(len(data))) if isinstance(data, list) else []
    for key in keys:
        found += paths(data[key], (*so_far, key))  # type: ignore[index]
    return found


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [..., None, "", "x", -1, 0, True, 1.5, 2**70, "9" * 30, "²", [], [None], {}, {"id": []}, [[]], "\ud800"]
)


@given(st.integers(0, 4), st.sampled_from([(), *paths(message(0))]), ODD)
def test_one_message_that_cant_be_read_costs_itself_alone(broken: int, path: tuple[Any, ...], value: object) -> None:
    """O2, O4, R2: whichever field of it is missing or of another kind; the others come once, and in order."""
    page: list[Any] = [message(number) for number in range(5)]
    expected = posts_of(copy.deepcopy(page), THREAD)
    if not path:
        page[broken] = None if value is ... else value
    else:
        at = page[broken]
        for key in path[:-1]:
            at = at[key]
        if value is ...:
            del at[path[-1]]
        else:
            at[path[-1]] = value
    found = posts_of(page[::-1], THREAD)
    others = [post for post in expected if post.message_id != 1000 + broken]
    assert [post for post in found if post in others] == others
    # It is there as well, unless its id is what can't be read.
    assert len(found) == len(others) + (bool(path) and path != ("id",)) or path == ("id",)


PIECES = [*"ab>[]:(\n\r\u2028\x85\u200b\u202e\uff3b\uff1a\uff3d ", "(user 1) wrote:]", "ann"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_no_name_and_no_text_of_an_earlier_message_yields_another_line(messages: list[tuple[str, str]]) -> None:
    """F8, F9: each has one headline, with its own author's id only; all else is quoted."""
    frames = []
    for number, (name, text) in enumerate(messages, 1):
        author = {"id": str(number), "username": name}
        post = post_of({"id": str(number << 30), "author": author, "content": text, "type": 0}, THREAD)
        assert post is not None
        frames.append(frame(*dataclasses.astuple(as_said(post))))
    lines = [line for line in "\n\n".join(frames).splitlines() if line and not line.startswith(">")]
    assert len(lines) == len(messages)
    for number, line in enumerate(lines, 1):
        assert line.startswith("[On 2015-01-01 at 00:00 UTC, ")
        assert line.endswith(f" (user {number}) wrote:]")
        assert [unicodedata.normalize("NFKC", line).count(one) for one in ("[", "]", "(user")] == [1, 1, 1]
