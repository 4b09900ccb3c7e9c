"""What Discord knows of the bot, asked of the loopback Discord."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bot.config import Settings
from bot.ops.doctor.account import check_discord, judge_application
from bot.ops.doctor.finding import Finding, Verdict
from bot.ops.doctor.rest import Application
from bot.sandbox import FakeDiscord, html, rate_limited, status
from bot.sandbox.model import Intents

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL


async def ask(discord: FakeDiscord, token: str | None = None, **settings: Any) -> list[Finding]:
    with anyio.fail_after(30):
        return await check_discord(Settings(_env_file=None, **settings), discord.api_url, token or discord.token)


async def one(discord: FakeDiscord, subject: str, **settings: Any) -> Finding:
    (found,) = [finding for finding in await ask(discord, **settings) if finding.subject == subject]
    return found


@pytest.mark.asyncio
async def test_all_is_well_and_the_gateway_is_left_alone() -> None:
    async with FakeDiscord() as discord:
        found = await ask(discord)
        assert [(finding.verdict, finding.subject) for finding in found] == [
            (OK, subject) for subject in ("account", "portal", "intents", "invite", "sessions", "servers", "server")
        ]
        assert f"client_id={discord.application_id}&" in found[3].text
        assert {call.method for call in discord.rest_calls()} == {"GET"}
        assert not discord.ready.is_set()
        discord.assert_clean()


@pytest.mark.asyncio
async def test_a_token_that_discord_does_not_take_fails() -> None:
    async with FakeDiscord() as discord:
        (found,) = await ask(discord, "another.canary.token")
    assert (found.verdict, found.subject) == (FAIL, "account")
    assert "canary" not in found.text


@pytest.mark.asyncio
async def test_a_token_that_no_header_can_hold_is_not_sent() -> None:
    async with FakeDiscord() as discord:
        (found,) = await ask(discord, "canary\r\nHost: there")
        assert discord.rest_calls() == []
    assert found.verdict is FAIL
    assert "canary" not in found.text


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (rate_limited(7), "refuses requests for 7 s (429)"),
        (status(503), "has an outage (503)"),
        (html(502), "has an outage (502)"),
        (status(403, 50001), "Missing Access (50001)"),
        (html(200), "was not understood"),
    ],
)
@pytest.mark.asyncio
async def test_a_discord_that_does_not_answer_the_first_question_is_a_warning(fault: Any, text: str) -> None:
    async with FakeDiscord() as discord:
        discord.faults.next("GET", "/users/@me$", fault)
        (found,) = await ask(discord)
    assert (found.verdict, found.subject) == (WARN, "account")
    assert text in found.text


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("/applications/@me", "portal"),
        ("/gateway/bot", "sessions"),
        ("/users/@me/guilds", "servers"),
        ("/guilds/", "server"),
    ],
)
@pytest.mark.asyncio
async def test_a_question_that_is_not_answered_costs_only_its_own_line(path: str, subject: str) -> None:
    async with FakeDiscord() as discord:
        discord.faults.next("GET", path, rate_limited(3))
        found = await ask(discord)
    assert [finding.subject for finding in found if finding.verdict is WARN] == [subject]
    assert FAIL not in {finding.verdict for finding in found}


@pytest.mark.asyncio
async def test_a_missing_content_intent_fails() -> None:
    """D1."""
    async with FakeDiscord() as discord:
        discord.granted_intents &= ~Intents.MESSAGE_CONTENT
        found = await one(discord, "intents")
    assert found.verdict is FAIL
    assert "Message Content is off" in found.text


@pytest.mark.parametrize(("left", "verdict"), [(100, OK), (99, WARN), (0, WARN)])
@pytest.mark.asyncio
async def test_few_connections_left_are_a_warning(left: int, verdict: Verdict) -> None:
    async with FakeDiscord() as discord:
        discord.state.session_starts = left
        found = await one(discord, "sessions")
    assert found.verdict is verdict
    assert found.text.startswith(f"{left} of 1000 new connections are left for the next 4.0 h")


PORTAL = Application(id=1, name="Weft", flags=1 << 18)


def test_the_intent_counts_in_many_servers_and_in_few() -> None:
    for flags, verdict in ((1 << 18, OK), (1 << 19, OK), (1 << 15, FAIL)):
        found = judge_application(PORTAL.model_copy(update={"flags": flags}))
        assert [finding.verdict for finding in found if finding.subject == "intents"] == [verdict]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"owner": {"id": "5", "username": "ann"}}, "owned by ann"),
        ({"owner": {"id": "5", "username": "team5"}, "team": {"name": "The Team"}}, "of the team The Team"),
        ({}, "owner unknown"),
    ],
)
def test_owner_or_team_is_named(raw: dict[str, Any], text: str) -> None:
    """D2."""
    application = Application.model_validate({"id": "1", "name": "Weft", **raw})
    assert judge_application(application)[0].text == f"Weft (1), {text}"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bot_require_code_grant": True}, "Requires OAuth2 Code Grant"),
        ({"interactions_endpoint_url": "https://example.org"}, "Interactions Endpoint URL"),
    ],
)
def test_what_the_portal_should_not_have_is_a_warning(change: dict[str, Any], text: str) -> None:
    found = judge_application(PORTAL.model_copy(update=change))
    (warning,) = [finding for finding in found if finding.verdict is WARN]
    assert text in warning.text
