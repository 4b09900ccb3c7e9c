"""Who is let in: every combination of place, person and list."""

from __future__ import annotations

import dataclasses

import pytest

from bot.chat.authorize import Policy, Purpose, Reason, Request, authorize

GUILD, OTHER_GUILD = 100, 101
CHANNEL, OTHER_CHANNEL, THREAD = 200, 201, 202
ALICE, OWNER, BOT = 300, 301, 302
DEVS, GUESTS, JUDGES = 400, 401, 402

OPEN = Policy(users=frozenset({ALICE}))
BY_ROLE = Policy(roles=frozenset({DEVS}))
NARROW = Policy(
    guilds=frozenset({GUILD}),
    channels=frozenset({CHANNEL}),
    users=frozenset({ALICE}),
    roles=frozenset({DEVS}),
    owners=frozenset({OWNER}),
)
CLOSED = Policy(owners=frozenset({OWNER}))
JUDGED = dataclasses.replace(NARROW, approvers=frozenset({JUDGES}))
JUDGE = Request(GUILD, CHANNEL, None, 7, frozenset({JUDGES}))
ASK = Request(GUILD, CHANNEL, None, ALICE)


def ask(**changes: object) -> Request:
    return dataclasses.replace(ASK, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "policy"),
    [
        (ask(), OPEN),
        (ask(guild_id=OTHER_GUILD), OPEN),
        (ask(channel_id=OTHER_CHANNEL), OPEN),
        (ask(channel_id=THREAD, parent_id=CHANNEL), OPEN),
        (ask(), NARROW),
        (ask(roles=frozenset({GUESTS})), NARROW),
        (ask(channel_id=THREAD, parent_id=CHANNEL), NARROW),
        (ask(user_id=7, roles=frozenset({DEVS})), NARROW),
        (ask(user_id=7, roles=frozenset({GUESTS, DEVS})), NARROW),
        (ask(user_id=7, roles=frozenset({DEVS})), BY_ROLE),
        (ask(user_id=OWNER), CLOSED),
        (ask(user_id=OWNER), NARROW),
        (ask(user_id=OWNER, guild_id=OTHER_GUILD), NARROW),
        (ask(user_id=OWNER, channel_id=OTHER_CHANNEL), NARROW),
        (ask(user_id=OWNER, channel_id=THREAD, parent_id=OTHER_CHANNEL), NARROW),
        (ask(user_id=BOT, automatic=True), Policy(users=frozenset({BOT}))),
        (ask(user_id=BOT, automatic=True, channel_id=THREAD, parent_id=CHANNEL), Policy(users=frozenset({BOT}))),
    ],
)
def test_who_is_on_a_list_is_let_in(request_: Request, policy: Policy) -> None:
    """D2: owners anywhere; others by guild and channel and (user or role)."""
    verdict = authorize(request_, policy)
    assert verdict.allowed
    assert verdict.reason is Reason.NONE


@pytest.mark.parametrize(
    ("request_", "policy", "reason"),
    [
        (ask(), Policy(), Reason.PERSON),
        (ask(roles=frozenset({DEVS})), Policy(), Reason.PERSON),
        (ask(), CLOSED, Reason.PERSON),
        (ask(), Policy(guilds=frozenset({GUILD}), channels=frozenset({CHANNEL})), Reason.PERSON),
        (ask(user_id=7), OPEN, Reason.PERSON),
        (ask(user_id=7, roles=frozenset({GUESTS})), NARROW, Reason.PERSON),
        (ask(user_id=7), BY_ROLE, Reason.PERSON),
        (ask(), BY_ROLE, Reason.PERSON),
        (ask(user_id=DEVS), BY_ROLE, Reason.PERSON),
        (ask(user_id=7, roles=frozenset({ALICE})), OPEN, Reason.PERSON),
        (ask(guild_id=OTHER_GUILD), NARROW, Reason.GUILD),
        (ask(guild_id=OTHER_GUILD, user_id=7, roles=frozenset({DEVS})), NARROW, Reason.GUILD),
        (ask(channel_id=OTHER_CHANNEL), NARROW, Reason.CHANNEL),
        (ask(channel_id=THREAD), NARROW, Reason.CHANNEL),
        (ask(channel_id=THREAD, parent_id=OTHER_CHANNEL), NARROW, Reason.CHANNEL),
        (ask(channel_id=CHANNEL, parent_id=OTHER_CHANNEL), NARROW, Reason.CHANNEL),
        (ask(channel_id=0), NARROW, Reason.CHANNEL),
        (ask(guild_id=None), OPEN, Reason.DIRECT),
        (ask(guild_id=None), NARROW, Reason.DIRECT),
        (ask(guild_id=None, user_id=OWNER), NARROW, Reason.DIRECT),
        (ask(guild_id=None, user_id=OWNER), CLOSED, Reason.DIRECT),
        (ask(user_id=BOT, automatic=True), OPEN, Reason.BOT),
        (ask(user_id=BOT, automatic=True, roles=frozenset({DEVS})), NARROW, Reason.BOT),
        (ask(user_id=BOT, automatic=True), Policy(), Reason.BOT),
        (ask(user_id=OWNER, automatic=True), CLOSED, Reason.BOT),
        (
            ask(user_id=BOT, automatic=True, channel_id=OTHER_CHANNEL),
            Policy(channels=frozenset({CHANNEL}), users=frozenset({BOT})),
            Reason.CHANNEL,
        ),
    ],
)
def test_everybody_else_is_refused_with_the_reason(request_: Request, policy: Policy, reason: Reason) -> None:
    """D2: closed by default; direct messages never; a thread counts as its parent; roles don't let bots in."""
    verdict = authorize(request_, policy)
    assert not verdict.allowed
    assert verdict.reason is reason


def test_an_approver_may_decide_and_not_prompt() -> None:
    """C1, D2: and only where the lists let Weft work; no role lets a bot in."""
    assert authorize(JUDGE, JUDGED, Purpose.DECIDE).allowed
    assert authorize(JUDGE, JUDGED).reason is Reason.PERSON
    refused = {
        Reason.GUILD: dataclasses.replace(JUDGE, guild_id=OTHER_GUILD),
        Reason.CHANNEL: dataclasses.replace(JUDGE, channel_id=OTHER_CHANNEL),
        Reason.DIRECT: dataclasses.replace(JUDGE, guild_id=None),
        Reason.BOT: dataclasses.replace(JUDGE, automatic=True),
    }
    assert {reason: authorize(asked, JUDGED, Purpose.DECIDE).reason for reason, asked in refused.items()} == {
        reason: reason for reason in refused
    }


def test_whoever_may_prompt_may_be_asked_to_decide() -> None:
    """C1: whether they may answer a card is the card's to say."""
    assert authorize(ASK, JUDGED, Purpose.DECIDE).allowed
    assert authorize(ask(user_id=7), JUDGED, Purpose.DECIDE).reason is Reason.PERSON


def test_a_new_policy_lets_nobody_in() -> None:
    """D2: with no list at all nobody is allowed."""
    assert not authorize(ASK, Policy()).allowed


def test_direct_messages_go_by_who_somebody_is_and_by_nothing_else() -> None:
    """D2, S7: neither roles nor lists of servers and channels reach there, and no bot does."""
    policy = dataclasses.replace(JUDGED, direct=True)
    direct = ask(guild_id=None, channel_id=OTHER_CHANNEL, roles=frozenset({DEVS, JUDGES}))
    assert authorize(direct, policy).allowed
    assert authorize(dataclasses.replace(direct, user_id=OWNER), policy).allowed
    for refused in (dataclasses.replace(direct, user_id=7), dataclasses.replace(direct, automatic=True)):
        for purpose in Purpose:
            assert authorize(refused, policy, purpose).reason is Reason.UNLISTED
    assert authorize(dataclasses.replace(direct, user_id=OWNER), JUDGED).reason is Reason.DIRECT
