"""What each part is given of the settings: limits, rules, whom to let in (pure)."""

from __future__ import annotations

import dataclasses

from acp.connection import ConnectionLimits
from acp.process import agent_environment
from acp.turn_deadlines import TurnLimits
from bot.agents.model import Agents
from bot.chat.authorize import Policy
from bot.chat.gateway import ChatConfig
from bot.config import Settings
from bot.model import Lane, QueueMode, Verbosity
from bot.preflight import RunSettings
from bot.reply.pacing import Pacing
from bot.work.files.transcription import Transcriber
from bot.work.limits import FileLimits, WorkLimits
from bot.work.queue.drop_rule import Drop
from bot.work.queue.rules import Rules
from pool.model import PoolLimits
from pool.storage.model import DAY, StorageLimits

DISCORD_GUILD_READY = 2.0
LOCAL_GUILD_READY = 0.1
"""Seconds without news of a further server after which the bot counts as ready."""


def policy_of(settings: Settings) -> Policy:
    """Return whom to let in (D2)."""
    return Policy(
        guilds=frozenset(settings.allowed_guilds),
        channels=frozenset(settings.allowed_channels),
        users=frozenset(settings.allowed_users),
        roles=frozenset(settings.allowed_roles),
        approvers=frozenset(settings.approver_roles),
        forums=frozenset(settings.forums),
        direct=settings.direct_messages,
    )


def chat_config(settings: Settings, wanted: RunSettings) -> ChatConfig:
    """Return how to reach Discord and whom to let in."""
    # Discord tells about its servers one by one; the loopback's single one is there at once.
    patience = LOCAL_GUILD_READY if settings.discord_api else DISCORD_GUILD_READY
    return ChatConfig(
        token=wanted.token,
        policy=policy_of(settings),
        api_url=settings.discord_api,
        guild_ready_timeout=patience,
        catch_up_limit=settings.catch_up,
    )


def pool_limits(settings: Settings) -> PoolLimits:
    """Return the pool's limits; the net under a hung turn is wider than all that the turn itself may take."""
    turn = turn_limits(settings)
    longest = turn.hard_timeout + turn.card_extension_max + turn.cancel_grace
    # Its files come before its own time begins, but the session is its already.
    files = FileLimits().fetch_timeout + (Transcriber(settings.transcribe).timeout if settings.transcribe else 0.0)
    # A minute more, so that the turn's own deadline always comes first (P6).
    return PoolLimits(max_agents=settings.max_agents, idle_ttl=settings.idle_ttl, hung_after=longest + files + 60)


def widened(limits: PoolLimits, settings: Settings, agents: Agents) -> PoolLimits:
    """Return the pool's limits with a net under the turns of all agents: some may last longer than the settings say."""
    longer = agents.longest_turn(settings.hard_timeout) - settings.hard_timeout
    return dataclasses.replace(limits, hung_after=limits.hung_after + max(0.0, longer))


def storage_limits(settings: Settings) -> StorageLimits:
    """Return what bounds the state file."""
    return StorageLimits(decisions_age=settings.audit_days * DAY, transcripts_age=settings.transcript_days * DAY)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Return the limits of an agent's connection."""
    return ConnectionLimits(
        start=settings.start_timeout,
        session=settings.start_timeout,
        max_line=settings.max_line,
        # People are shown what agents ask, so agents learn that they may.
        elicitation=("form", "url"),
    )


def turn_limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        liveness=settings.liveness_interval,
        hard_timeout=settings.hard_timeout,
        cancel_grace=settings.cancel_grace,
        drain_quiet=settings.drain,
    )


def transcriber_of(settings: Settings, wanted: RunSettings) -> Transcriber | None:
    """Return what writes down voice messages; it sees what every agent does of the environment."""
    environment = agent_environment(wanted.environment, ())
    return Transcriber(settings.transcribe, environment) if settings.transcribe else None


def rules_of(settings: Settings) -> Rules:
    """Return how a thread's messages become turns."""
    return Rules(
        mode=QueueMode(settings.queue_mode),
        cap=settings.queue_cap,
        drop=Drop(settings.queue_drop),
        debounce=settings.debounce,
        debounce_max=settings.debounce_max,
        max_concurrent=settings.max_concurrent,
    )


def work_limits(settings: Settings) -> WorkLimits:
    return WorkLimits(
        turn=turn_limits(settings),
        pacing=Pacing(interval=settings.edit_interval),
        long_as_file=settings.long_answers == "file",
        verbosity=Verbosity(settings.verbosity),
        rules=rules_of(settings),
        lanes=dict(zip(Lane, settings.lanes, strict=True)),
        user_messages=settings.user_messages,
        context=settings.context,
        reactions=settings.reactions,
        welcome=settings.welcome,
        permission_timeout=settings.permission_timeout,
        approvers=settings.approver_roles,
        stop_grace=settings.stop_grace,
        # A second more than agents have after a cancel, so that a deaf one is still killed within it.
        stop_bound=settings.cancel_grace + 1,
        files=FileLimits(most=settings.max_files, size=settings.max_file_bytes),
        transcript_days=settings.transcript_days,
    )
