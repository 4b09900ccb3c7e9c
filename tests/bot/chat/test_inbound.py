"""Which messages become prompts or commands, and with what text, thread and title."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.authorize import Policy, Reason
from bot.chat.inbound import (
    HELP,
    IGNORED,
    UNREAD,
    BotRuns,
    Command,
    Decision,
    Kind,
    OncePer,
    ParsedPrefix,
    Place,
    Post,
    Weft,
    Wordings,
    asks_nothing,
    clip,
    decide,
    parse_prefix,
    revised,
    title,
)
from bot.model import Actor, Attachment, Conversation, Lane, Origin, QueueMode, Quote
from bot.recent import Recent, RecentMap

WEFT = Weft(1, role=2)
ALICE, BOB = Actor(10, "Alice"), Actor(11, "Bob")
POLICY = Policy(users=frozenset({ALICE.id}))
CHANNEL = Place(100, 200)
OWN_THREAD = Place(100, 300, parent_id=200, owner_id=WEFT.id)
OTHER_THREAD = Place(100, 301, parent_id=200, owner_id=BOB.id)
FILE = Attachment(5, "a.png", 3, "image/png", "https://cdn.discordapp.com/a.png", 300, 500)
FORWARDED = dataclasses.replace(FILE, id=6, name="b.png", origin=Origin.FORWARDED)


def post(content: str, place: Place = CHANNEL, **changes: object) -> Post:
    mentions = frozenset({WEFT.id}) if "<@1>" in content else frozenset[int]()
    made = Post(message_id=500, place=place, author=ALICE, content=content, mentions=mentions)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def judged(content: str, place: Place = CHANNEL, **changes: object) -> Decision:
    return decide(post(content, place, **changes), WEFT, POLICY)


def test_a_mention_in_a_channel_asks_for_a_thread_with_the_messages_id() -> None:
    """D1: a mention in an allowed channel opens a thread named after the request."""
    inbound = judged("<@1> fix the login test").inbound
    assert inbound is not None
    assert (inbound.message_id, inbound.channel_id, inbound.thread_id, inbound.guild_id) == (500, 200, 500, 100)
    assert inbound.opens_thread
    assert (inbound.text, inbound.title) == ("fix the login test", "fix the login test")
    assert inbound.author == ALICE


def test_a_mention_in_a_message_that_has_a_thread_uses_that_thread() -> None:
    """D1: a mention in a message that already has a thread uses that thread."""
    inbound = judged("<@1> go on", has_thread=True).inbound
    assert inbound is not None
    assert inbound.thread_id == 500
    assert not inbound.opens_thread


@pytest.mark.parametrize("place", [OWN_THREAD, OTHER_THREAD], ids=["own", "other"])
def test_a_mention_in_a_thread_stays_in_that_thread(place: Place) -> None:
    """D1: an authorised mention makes any thread Weft's."""
    inbound = judged("<@1> go on", place).inbound
    assert inbound is not None
    assert (place.channel_id, place.channel_id, False) == (inbound.channel_id, inbound.thread_id, inbound.opens_thread)


def test_in_threads_that_weft_opened_every_message_is_a_prompt() -> None:
    """D1: no mention is needed there."""
    inbound = judged("and now the docs", OWN_THREAD).inbound
    assert inbound is not None
    assert inbound.text == "and now the docs"


@pytest.mark.parametrize("place", [CHANNEL, OTHER_THREAD], ids=["channel", "other thread"])
def test_elsewhere_a_message_without_a_mention_is_nothing(place: Place) -> None:
    """D1: in other threads and in channels only mentions count."""
    assert judged("and now the docs", place) is IGNORED


@pytest.mark.parametrize("content", ["// lunch?", "  // lunch?", "//", "// <@1> is slow today"])
def test_an_aside_in_wefts_thread_is_left_to_the_people(content: str) -> None:
    """D1: a message that starts with // is not a prompt."""
    assert judged(content, OWN_THREAD) is IGNORED


def test_slashes_elsewhere_in_the_text_are_no_aside() -> None:
    """D1: only the start counts."""
    assert judged("see https://example.org // really", OWN_THREAD).kind is Kind.PROMPT


@pytest.mark.parametrize(
    "changes",
    [{"mentions": frozenset({BOB.id})}, {"crowds": frozenset({77})}, {"everyone": True}],
    ids=["user", "role", "everyone"],
)
def test_a_message_to_other_people_in_wefts_thread_is_no_prompt(changes: dict[str, object]) -> None:
    """D1: unless it mentions other people and not Weft."""
    assert judged("what do you think?", OWN_THREAD, **changes) is IGNORED


def test_a_message_to_other_people_and_weft_is_a_prompt() -> None:
    """D1: mentioning Weft too makes it one."""
    decision = judged("<@1> as <@11> said", OWN_THREAD, mentions=frozenset({WEFT.id, BOB.id}))
    assert decision.inbound is not None
    assert decision.inbound.text == "as <@11> said"


POST = Place(100, 500, parent_id=201, owner_id=BOB.id, name="Login is slow")
"""A forum's post: its first message has its id."""


def test_the_first_message_of_a_post_that_mentions_weft_is_a_prompt_with_the_posts_title() -> None:
    """S6: nothing was said before it; a later mention is one like in any thread of people's."""
    inbound = judged("<@1> why?", POST).inbound
    assert inbound is not None
    assert (inbound.thread_id, inbound.opens_thread, inbound.conversation) == (500, False, None)
    assert inbound.quotes == (Quote("The title of the post", "Login is slow"),)
    alone = judged("<@1>", POST).inbound
    assert alone is not None
    later = judged("<@1> and now?", POST, message_id=501).inbound
    assert later is not None
    assert (later.quotes, later.conversation) == ((), Conversation(500, 501))
    assert judged("why?", POST) is IGNORED


def test_in_a_forum_of_wefts_each_new_post_is_a_prompt_unless_it_is_for_others() -> None:
    """S6, D2: by whoever may prompt; others learn why theirs is not."""
    policy = dataclasses.replace(POLICY, forums=frozenset({201}))
    assert decide(post("why?", POST), WEFT, policy).kind is Kind.PROMPT
    assert decide(post("why?", POST, message_id=501), WEFT, policy) is IGNORED
    assert decide(post("<@11> why?", POST, mentions=frozenset({BOB.id})), WEFT, policy) is IGNORED
    assert decide(post("// a note of ours", POST), WEFT, policy) is IGNORED
    assert decide(post("why?", POST, author=BOB), WEFT, policy).text == Reason.PERSON
    assert decide(post("why?", POST, author=BOB, automatic=True), WEFT, policy) is IGNORED


def test_in_a_post_that_is_wefts_every_message_is_a_prompt() -> None:
    """S6, D1: as in a thread that Weft opened: asides and talk to others are not."""
    weft = dataclasses.replace(WEFT, posts=frozenset({POST.channel_id}))
    found = decide(post("and now?", POST, message_id=501), weft, POLICY).inbound
    assert found is not None
    assert (found.text, found.conversation) == ("and now?", None)
    assert decide(post("// lunch?", POST, message_id=501), weft, POLICY) is IGNORED
    assert decide(post("<@11>?", POST, message_id=501, mentions=frozenset({BOB.id})), weft, POLICY) is IGNORED


def test_the_mention_of_wefts_own_role_counts_as_a_mention() -> None:
    """D1: people pick the role of the same name by mistake."""
    decision = judged("<@&2> hello", crowds=frozenset({2}))
    assert decision.inbound is not None
    assert decision.inbound.text == "hello"


def test_a_role_is_not_weft_when_it_has_none() -> None:
    """D1: without a role of its own, no role mention counts."""
    assert decide(post("<@&2> hello", crowds=frozenset({2})), Weft(1), POLICY) is IGNORED


def test_wefts_own_messages_start_nothing() -> None:
    """D1: not even in its own thread, nor when it mentions itself."""
    assert judged("<@1> hi", OWN_THREAD, author=Actor(WEFT.id, "Weft")) is IGNORED


def test_notices_by_discord_start_nothing() -> None:
    """D1: system messages such as pins and joins."""
    assert judged("<@1> pinned a message", OWN_THREAD, ordinary=False) is IGNORED


@pytest.mark.parametrize("content", ["<@1>", " <@1>  ", "<@!1>", "<@1><@&2>"])
def test_an_empty_mention_gets_help(content: str) -> None:
    """D1: an empty mention gets a help line."""
    assert Decision(Kind.HELP, text=HELP) == judged(content, mentions=frozenset({WEFT.id}))


def test_nothing_that_was_meant_for_weft_is_passed_over_in_silence() -> None:
    """D1: what can't be read; a bot that is told so would be told so again."""
    assert judged("", OWN_THREAD) == Decision(Kind.TELL, text=UNREAD)
    assert judged("", garbled=True, mentions=frozenset({WEFT.id})) == Decision(Kind.TELL, text=UNREAD)
    assert judged("", OWN_THREAD, automatic=True) is IGNORED
    assert decide(post("", OWN_THREAD, author=BOB), WEFT, POLICY) is IGNORED


def test_a_reply_brings_along_what_it_replies_to() -> None:
    """D1, D8: with its author, cut, and apart from the asker's words; Weft's own words are said to be its own."""
    bobs = post("", author=BOB, gist="x" * 501, attachments=(FILE, FORWARDED))
    inbound = judged("fix this", OWN_THREAD, original=bobs, attachments=(FORWARDED,)).inbound
    assert inbound is not None
    assert (inbound.text, inbound.files) == ("fix this", 0)
    quoted = [dataclasses.replace(one, origin=Origin.REPLIED_TO) for one in (FILE, FORWARDED)]
    assert inbound.attachments == (FORWARDED, *quoted)
    assert inbound.quotes == (Quote("In reply to Bob (user 11), who wrote", "x" * 499 + "…"),)
    own = post("", author=Actor(WEFT.id, "Weft"), gist="done", attachments=(FILE,))
    inbound = judged("<@1>", original=own).inbound
    assert inbound is not None
    assert (inbound.text, inbound.title, inbound.attachments) == ("", "done", ())
    assert inbound.quotes == (Quote("In reply to what you wrote", "done"),)


def test_where_no_agent_followed_the_talk_a_mention_says_so() -> None:
    """F9: in a thread of other people's, and where a thread is opened in a channel."""
    places = ((CHANNEL, 200), (OTHER_THREAD, 301), (OWN_THREAD, None))
    for place, place_id in places:
        inbound = judged("<@1> well?", place).inbound
        assert inbound is not None
        assert inbound.conversation == (None if place_id is None else Conversation(place_id, inbound.message_id))
    again = judged("<@1> well?", has_thread=True).inbound
    assert again is not None
    assert again.conversation is None


def test_words_without_text_are_a_prompt_too() -> None:
    """D1, D8: a forwarded message, a sticker, a poll; a command stays one."""
    poll = (Quote("Poll", "Ship it?\n- yes"),)
    inbound = judged("", OWN_THREAD, quotes=poll).inbound
    assert inbound is not None
    assert (inbound.text, inbound.title, inbound.quotes) == ("", "Ship it?", poll)
    assert judged("stop", OWN_THREAD, quotes=poll).kind is Kind.COMMAND


def test_an_update_that_cant_be_read_changes_no_prompt() -> None:
    """Q5."""
    assert revised(post("", OWN_THREAD, garbled=True), WEFT, POLICY) is None


def test_a_mention_by_a_stranger_is_refused_with_the_reason() -> None:
    """D2: told once (the client counts)."""
    assert Decision(Kind.REFUSE, text=Reason.PERSON) == judged("<@1> rm -rf /", author=BOB)


def test_a_strangers_empty_mention_is_refused_too() -> None:
    """D2: help is for those who are let in."""
    assert judged("<@1>", author=BOB).kind is Kind.REFUSE


def test_a_stranger_who_just_talks_in_wefts_thread_is_ignored() -> None:
    """D2: only mentions are answered."""
    assert judged("nice", OWN_THREAD, author=BOB) is IGNORED


def test_a_bot_that_is_not_listed_gets_no_answer_at_all() -> None:
    """D2: an answer could start a ping-pong of bots."""
    assert judged("<@1> hello", author=BOB, automatic=True) is IGNORED


def test_a_listed_bot_is_heard() -> None:
    """D2: bots and webhooks when listed."""
    assert judged("<@1> hello", automatic=True).kind is Kind.PROMPT


def test_a_direct_message_is_refused() -> None:
    """D2: direct messages never."""
    assert judged("<@1> hello", Place(None, 900)).text == Reason.DIRECT


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<@1> a", "a"),
        ("<@!1> a", "a"),
        ("a <@1>", "a"),
        ("hey <@1> do it", "hey do it"),
        ("<@1>\nline\n  indented <@1>\n", "line\n  indented"),
        ("<@11> and <@1>", "<@11> and"),
        ("<@&2> a <@&3>", "a <@&3>"),
    ],
)
def test_only_the_mentions_of_weft_are_cut_out(content: str, expected: str) -> None:
    """D1: the prompt is the text without our mention; others' mentions stay."""
    assert expected == parse_prefix(content, WEFT).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fix it", "Fix it"),
        ("\n\n  Fix   it  \nplease", "Fix it"),
        ("# **Fix** `it`", "Fix it"),
        ("```\ncode()\n```", "code()"),
        ("<@11> look at <#22>", "look at"),
        ("***", "Request"),
        ("", "Request"),
    ],
)
def test_the_title_is_the_first_line_that_says_something(text: str, expected: str) -> None:
    """D1: the thread is named after the request."""
    assert expected == title(text)


@pytest.mark.parametrize("text", ["x" * 101, "word " * 40, "😀" * 80, "漢" * 150])
def test_a_title_never_exceeds_discords_limit(text: str) -> None:
    """D1: 1 to 100 characters, counted the strict way."""
    name = title(text)
    assert 1 <= len(name.encode("utf-16-le")) // 2 <= 100
    assert name.endswith("…")


def test_clipping_leaves_short_text_alone_and_characters_whole() -> None:
    """D1: an astral character counts as two units and is never halved."""
    assert clip("😀😀", 4) == "😀😀"
    assert clip("😀😀", 3) == "😀…"


def test_a_key_is_due_once_in_a_period() -> None:
    """D2: one short reply an hour and person."""
    once = OncePer(3600.0)
    assert once.due(1, now=0.0)
    assert once.due(2, now=1.0)
    assert not once.due(1, now=3599.0)
    assert once.due(1, now=3600.0)
    assert not once.due(2, now=3600.5)


def test_bots_may_prompt_only_so_often_in_a_row() -> None:
    """D2: a limit on consecutive bot turns, which a person's prompt sets back."""
    runs = BotRuns(limit=2)
    assert [runs.allow(1, automatic=True) for _ in range(4)] == [True, True, False, False]
    assert runs.allow(2, automatic=True)
    assert runs.allow(1, automatic=False)
    assert runs.allow(1, automatic=True)


def test_bot_runs_forget_old_threads() -> None:
    """D2: the memory is bounded."""
    runs = BotRuns(1, RecentMap(2))
    assert all(runs.allow(thread, automatic=True) for thread in (1, 2, 3))
    assert runs.allow(1, automatic=True)
    assert not runs.allow(3, automatic=True)


@pytest.mark.parametrize("content", ["<@1>", "<@1>  "])
def test_a_bot_gets_no_help(content: str) -> None:
    """D2: two bots that answer each other would go on for ever."""
    assert judged(content, automatic=True) == IGNORED
    assert judged("", OWN_THREAD, automatic=True) == IGNORED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u200b\u2060\nfix it", "fix it"),
        ("\u200b", "Request"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("a\x00b\x1b[31mc", "abc"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 family", "\U0001f468\u200d\U0001f469\u200d\U0001f467 family"),
    ],
)
def test_a_title_neither_hides_nor_reorders_what_it_says(text: str, expected: str) -> None:
    """D1, D9: a thread's name that shows nothing is none, and Discord would refuse it."""
    assert title(text) == expected


def test_a_prompt_is_taken_once_and_the_memory_of_it_is_bounded() -> None:
    """R2: an event that comes again, or a message found again in a catch-up."""
    taken: Recent[int] = Recent(limit=2)
    assert [taken.first(one) for one in (1, 1, 2, 3, 3, 1)] == [True, False, True, True, False, True]


def test_a_message_may_choose_its_queue_mode() -> None:
    """Q2: after the mention; neither prompt nor title has the word."""
    inbound = judged("<@1> !steer use the other branch").inbound
    assert inbound is not None
    assert (inbound.mode, inbound.text, inbound.title) == (QueueMode.STEER, *["use the other branch"] * 2)


def test_a_message_that_chooses_no_queue_mode_leaves_it_to_thread_and_server() -> None:
    """Q2"""
    inbound = judged("<@1> go on").inbound
    assert inbound is not None
    assert inbound.mode is None


@pytest.mark.parametrize("content", ["!queue", "!Interrupt "])
def test_a_queue_mode_alone_gets_help(content: str) -> None:
    """Q2, D1: something was meant, and nothing said."""
    assert judged(content, OWN_THREAD) == Decision(Kind.HELP, text=HELP)
    assert judged(content, OWN_THREAD, automatic=True) is IGNORED


@pytest.mark.parametrize(("automatic", "lane"), [(False, Lane.MAIN), (True, Lane.BACKGROUND)])
def test_bots_and_webhooks_have_a_lane_of_their_own(automatic: bool, lane: Lane) -> None:
    """Q6: no person waits for them."""
    inbound = judged("<@1> build", automatic=automatic).inbound
    assert inbound is not None
    assert inbound.lane is lane


def test_an_inbound_says_how_many_files_came_with_it() -> None:
    """D8"""
    inbound = judged("<@1> look", attachments=(FILE, FILE, FORWARDED)).inbound
    assert inbound is not None
    assert (inbound.files, len(inbound.attachments)) == (2, 3)


def test_files_alone_are_a_prompt() -> None:
    """D1, F1: the thread that they open is named after them."""
    inbound = judged("<@1>", attachments=(FILE,)).inbound
    assert inbound is not None
    assert (inbound.text, inbound.title, inbound.attachments) == ("", "a.png", (FILE,))
    alone = judged("", OWN_THREAD, attachments=(FILE,))
    assert alone.kind is Kind.PROMPT


def test_an_edit_that_leaves_only_files_still_asks() -> None:
    """Q5, F1"""
    assert not asks_nothing(post("", OWN_THREAD, attachments=(FILE,)), "", WEFT)
    assert asks_nothing(post("", OWN_THREAD), "", WEFT)
    assert asks_nothing(post("// not for you", OWN_THREAD, attachments=(FILE,)), "", WEFT)
    assert not asks_nothing(post("words", OWN_THREAD), "words", WEFT)


@pytest.mark.parametrize(
    ("content", "command"),
    [("stop", Command.STOP), ("Stop all.", Command.STOP_ALL), ("!status", Command.STATUS)],
)
def test_a_stop_word_alone_is_a_command_where_a_message_would_be_a_prompt(content: str, command: Command) -> None:
    """Q7, Q11: in Weft's thread, or with a mention."""
    assert judged(content, OWN_THREAD) == Decision(Kind.COMMAND, command=command)
    assert judged(f"<@1> {content}", OTHER_THREAD) == Decision(Kind.COMMAND, command=command)
    assert judged(content, OTHER_THREAD) is IGNORED
    assert judged(content, OWN_THREAD, mentions=frozenset({BOB.id})) is IGNORED


def test_a_strangers_stop_word_stops_nothing() -> None:
    """Q7, D2: the usual refusal where Weft is mentioned, else nothing."""
    assert judged("stop", OWN_THREAD, author=BOB) is IGNORED
    assert judged("<@1> stop", OWN_THREAD, author=BOB) == Decision(Kind.REFUSE, text=Reason.PERSON)


@pytest.mark.parametrize("content", ["<@1> !queue the new words", "the new words", "<@11> <@1> the new words"])
def test_an_edit_gives_the_text_without_mention_and_mode(content: str) -> None:
    """Q5: also when the mention went, or somebody else's came."""
    text = revised(post(content), WEFT, POLICY)
    assert text is not None
    assert text.removeprefix("<@11> ") == "the new words"


@pytest.mark.parametrize("content", ["<@1>", "", "!queue", "stop", "// never mind"])
def test_an_edit_that_leaves_no_prompt_gives_nothing(content: str) -> None:
    """Q5: that is as good as a deletion; a command is not given by an edit."""
    assert revised(post(content, OWN_THREAD), WEFT, POLICY) == ""


@pytest.mark.parametrize(
    "changes",
    [{"author": BOB}, {"author": Actor(WEFT.id, "Weft")}, {"ordinary": False}, {"place": Place(None, 900)}],
    ids=["a stranger", "Weft itself", "a notice", "a direct message"],
)
def test_an_edit_counts_only_from_those_who_may_prompt(changes: dict[str, object]) -> None:
    """Q5, D2: the same rules as for the message."""
    assert revised(post("<@1> the new words", **changes), WEFT, POLICY) is None  # type: ignore[arg-type]


def test_what_a_prompt_said_is_known_for_the_latest_prompts() -> None:
    """Q5: bounded; a text that is not known is neither new nor old."""
    wordings = Wordings(limit=2)
    assert [wordings.note(1, "a"), wordings.note(1, "a"), wordings.note(1, "b")] == [None, False, True]
    assert [wordings.note(2, "a"), wordings.note(3, "a"), wordings.note(1, "b")] == [None, None, None]


@pytest.mark.parametrize("typed", ["stop", "Stop", "STOP.", "!stop", "stop!", "!Stop."])
def test_stop_typed_alone_is_a_command(typed: str) -> None:
    """Q7"""
    assert parse_prefix(typed, WEFT) == ParsedPrefix(command=Command.STOP)


@pytest.mark.parametrize("typed", ["stop all", "Stop  All", "!stop all", "stop all!", "STOP ALL."])
def test_stop_all_typed_alone_is_a_command(typed: str) -> None:
    """Q7"""
    assert parse_prefix(typed, WEFT) == ParsedPrefix(command=Command.STOP_ALL)


@pytest.mark.parametrize("typed", ["status", "!status", "Status.", "STATUS!"])
def test_status_typed_alone_is_a_command(typed: str) -> None:
    """Q11"""
    assert parse_prefix(typed, WEFT) == ParsedPrefix(command=Command.STATUS)


@pytest.mark.parametrize(
    "typed",
    ["stop it", "please stop", "stop!!", "stop all tests", "stopall", "status of the build", "stop\nnow", "?stop", ""],
)
def test_a_stop_word_that_is_not_alone_is_a_prompt_like_any_other(typed: str) -> None:
    """Q7: nothing is stopped by guess."""
    assert parse_prefix(typed, WEFT) == ParsedPrefix(typed)


@pytest.mark.parametrize("mode", QueueMode)
def test_the_first_word_chooses_the_queue_mode_and_is_cut_off(mode: QueueMode) -> None:
    """Q2"""
    assert parse_prefix(f"!{mode} fix\nit", WEFT) == ParsedPrefix("fix\nit", mode)
    assert parse_prefix(f"!{mode.upper()}\n fix it", WEFT) == ParsedPrefix("fix it", mode)


@pytest.mark.parametrize("mode", QueueMode)
def test_a_mode_alone_is_no_prompt(mode: QueueMode) -> None:
    """Q2"""
    assert parse_prefix(f"!{mode}", WEFT) == ParsedPrefix("", mode)


@pytest.mark.parametrize(
    "typed", ["!queued fix it", "!queue: fix it", "queue fix it", "now !queue fix it", "! queue x"]
)
def test_only_the_whole_word_at_the_very_start_chooses_a_mode(typed: str) -> None:
    """Q2"""
    assert parse_prefix(typed, WEFT) == ParsedPrefix(typed)


@given(st.text().map(str.strip))
def test_what_is_no_word_of_ours_stays_as_it_is(typed: str) -> None:
    """Q2, Q7: a prompt is never changed but for its mode."""
    wish = parse_prefix(typed, WEFT)
    assert wish.command is not None or typed.endswith(wish.text)
    assert wish.mode is not None or wish.command is not None or wish.text == typed
