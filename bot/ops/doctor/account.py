"""Whether Discord takes the token, and what it knows of the application: intents, owner, limits, invitation.

Only questions are asked; no connection to the gateway is made, so a bot that runs is not disturbed. Servers and
channels are looked at in `places`.
"""

from __future__ import annotations

from http import HTTPStatus

import aiohttp

from bot.config import Settings
from bot.ops.doctor.finding import Finding, fail, ok, warn
from bot.ops.doctor.places import check_places, invite_link
from bot.ops.doctor.rest import Application, AskError, GatewayBot, Questions, Refused, SessionStarts, User
from bot.preflight import token_problem

FEW_SESSIONS = 100
"""Fewer new gateway sessions than this are left to the bot before Discord resets its token."""


async def check_discord(settings: Settings, api: str, token: str) -> list[Finding]:
    """Ask Discord what it knows; the first answer decides whether there is anything more to ask."""
    # Not even sent: no header takes a line break.
    if problem := token_problem(token):
        return [fail("account", problem)]
    async with aiohttp.ClientSession() as session:
        questions = Questions(session, api, token)
        try:
            bot = await questions.ask("/users/@me", User)
        except AskError as exc:
            # The others would be refused as this one was.
            return [not_accepted(exc)]
        # One after the other: what is asked counts against the limits of the bot that may be running.
        return [
            ok("account", f"{bot.username} ({bot.id})"),
            *await _application(questions),
            *await _sessions(questions),
            *await check_places(questions, bot.id, settings.allowed_guilds, settings.allowed_channels, settings.forums),
        ]


def not_accepted(error: AskError) -> Finding:
    """Say what follows from the first question's error: a FAIL only if Discord does not take the token."""
    if isinstance(error, Refused) and error.status == HTTPStatus.UNAUTHORIZED:
        return fail("account", "Discord does not accept the token: make a new one in the developer portal, under Bot")
    return warn("account", f"{error}; the other checks at Discord were skipped")


async def _application(questions: Questions) -> list[Finding]:
    try:
        application = await questions.ask("/applications/@me", Application)
    except AskError as exc:
        return [warn("portal", f"{exc}")]
    return judge_application(application)


def judge_application(application: Application) -> list[Finding]:
    """Say what in the developer portal stands in the bot's way, who owns it, and how it is invited."""
    findings = [ok("portal", f"{application.name} ({application.id}), {_owner(application)}"), _intent(application)]
    if application.interactions_endpoint_url:
        text = "buttons and commands go to the Interactions Endpoint URL instead of Weft: remove it in the portal"
        findings.append(warn("portal", text))
    if application.bot_require_code_grant:
        findings.append(
            warn(
                "portal", "Requires OAuth2 Code Grant is on: switch it off in the portal, or nobody can invite the bot"
            )
        )
    return [*findings, ok("invite", invite_link(application.id))]


def _owner(application: Application) -> str:
    if application.team:
        return f"of the team {application.team.name}"
    return f"owned by {application.owner.username}" if application.owner else "owner unknown"


def _intent(application: Application) -> Finding:
    if application.reads_content:
        return ok("intents", "Message Content is on")
    text = "Message Content is off: switch it on in the developer portal, under Bot, Privileged Gateway Intents"
    return fail("intents", text)


async def _sessions(questions: Questions) -> list[Finding]:
    try:
        # Asking takes none of the connections that it counts.
        starts = (await questions.ask("/gateway/bot", GatewayBot)).session_start_limit
    except AskError as exc:
        return [warn("sessions", f"{exc}")]
    return [judge_sessions(starts)]


def judge_sessions(starts: SessionStarts) -> Finding:
    """Say how many times the bot may still connect anew."""
    hours = starts.reset_after / 3_600_000
    left = f"{starts.remaining} of {starts.total} new connections are left for the next {hours:.1f} h"
    if starts.remaining >= FEW_SESSIONS:
        return ok("sessions", left)
    return warn("sessions", f"{left}: something keeps reconnecting; at 0 Discord resets the token")
