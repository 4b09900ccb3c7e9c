"""Health and metrics of a bot at work: what happens moves what it should, and nothing secret is told (R7)."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import psutil
import pytest
from discord.gateway import DiscordWebSocket
from prometheus_client.parser import text_string_to_metric_families

from bot import derived_settings
from bot.chat import connection_health
from bot.config import Settings
from bot.model import Outcome
from bot.ops.address import UnixSocket
from bot.ops.health import Status
from bot.ops.status import ask
from bot.sandbox import FakeDiscord, Fault
from pool.model import PoolLimits
from pool.registry import Registry
from tests.agents import Step, scenario
from tests.commands import WEFT, environment
from tests.e2e.play import LIMIT, Play, hurry_discord, play
from tests.e2e.process import connected, mention, run, until_shown

pytestmark = pytest.mark.asyncio

LOCAL = "127.0.0.1:0"
TURNS = re.compile(r"weft_(turns|prompts|turn_|reply|agent_|agents|discord_rate)\w*(total|count)")
"""The counters that tests look at; what the store and Discord were asked meanwhile depends on the pace."""

HANG: list[Step] = [{"text": "so far"}, {"hang": True}]


async def get(address: str | None, path: str) -> tuple[int, str]:
    url = f"http://{address}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def health(address: str | None) -> tuple[int, dict[str, Any]]:
    code, body = await get(address, "/healthz")
    return code, json.loads(body)


async def samples(game: Play) -> dict[str, float]:
    """Return every sample by its name and the values of its labels."""
    code, body = await get(game.on_stage.bot.health, "/metrics")
    assert code == 200
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def counters(game: Play) -> dict[str, float]:
    return {name: value for name, value in (await samples(game)).items() if TURNS.match(name)}


async def until(game: Play, name: str, value: float) -> None:
    """Wait until a sample has a value."""
    with anyio.fail_after(LIMIT):
        while (await samples(game))[name] != value:  # noqa: ASYNC110  state is read, nobody tells of it
            await anyio.sleep(0.01)


async def risen(game: Play, before: dict[str, float]) -> dict[str, float]:
    """Return by how much counters have risen, once all that was under way is done."""
    await until(game, "weft_deliveries_pending", 0)
    after = await counters(game)
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def of_turn(outcome: str) -> dict[str, float]:
    """Return what one turn moves that has shown something."""
    return {
        "weft_prompts_accepted_total main": 1,
        f"weft_prompts_ended_total main {outcome}": 1,
        f"weft_turns_total main {outcome}": 1,
        "weft_turn_duration_seconds_count main": 1,
        "weft_turn_wait_seconds_count main": 1,
        "weft_reply_visible_seconds_count main": 1,
    }


async def test_turns_move_exactly_the_counters_that_they_should(tmp_path: Path) -> None:
    """R7, O1: an answer, a failure, a stop, and an agent that dies."""
    words = {
        "fail": [{"error": {"code": -32603, "message": "no"}}],
        "hang": HANG,
        "die": [{"text": "last words"}, {"exit": 3}],
    }
    async with play(tmp_path, scenario(tmp_path, words=words, resume=True), health=LOCAL) as game:
        before = await counters(game)
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert await risen(game, before) == of_turn("answered") | {"weft_agent_sessions_opened_total new": 1}

        before = await counters(game)
        assert await game.outcome(await game.say(thread_id, "fail")) is Outcome.FAILED
        assert await risen(game, before) == of_turn("failed")

        before = await counters(game)
        message = await game.say(thread_id, "hang")
        await game.until_shown(thread_id, "so far")
        now = await samples(game)
        assert (now["weft_turns_running main"], now["weft_agents_busy"], now["weft_agents live"]) == (1, 1, 1)
        waiting = await game.say(thread_id, "hello again")
        await until(game, "weft_prompts_waiting main", 1)
        await game.stop(thread_id)
        assert await game.outcome(message) is Outcome.STOPPED
        assert await game.outcome(waiting) is Outcome.ANSWERED
        both = {name: 2.0 for name in of_turn("") if not name.endswith(" ")}
        stopped, answered = (of_turn(name) for name in ("stopped", "answered"))
        assert await risen(game, before) == stopped | answered | both

        before = await counters(game)
        assert await game.outcome(await game.say(thread_id, "die")) is Outcome.AGENT_DIED
        await until(game, "weft_agents live", 0)
        ended = {"weft_agent_deaths_total": 1, "weft_agent_sessions_stopped_total died": 1}
        assert await risen(game, before) == of_turn("agent_died") | ended
        assert (await samples(game))["weft_turns_running main"] == 0


async def test_a_start_that_fails_is_counted_by_its_reason(tmp_path: Path) -> None:
    """R7, P10"""
    agent = scenario(tmp_path, start={"exit": 4})
    async with play(tmp_path, agent, health=LOCAL) as game:
        before = await counters(game)
        _, outcome = await game.ask("hello")
        assert outcome is Outcome.COULD_NOT_START
        rise = await risen(game, before)
        # It is started ahead for the message, and once more for the turn if that has failed by then.
        assert rise["weft_agent_start_failures_total exited"] in (1, 2)
        assert rise["weft_prompts_ended_total main could_not_start"] == 1
        assert "weft_agent_deaths_total" not in rise


async def test_a_rate_limit_is_counted_once_and_the_answer_still_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7, D10"""
    hurry_discord(monkeypatch)
    async with play(tmp_path, scenario(tmp_path), health=LOCAL) as game:
        before = await counters(game)
        game.discord.faults.next("POST", "/messages$", Fault.rate_limited(0.05))
        _, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        rise = await risen(game, before)
        assert rise["weft_discord_rate_limited_total user"] == 1
        assert [rise[name] for name in rise if name.startswith("weft_discord_rate_limited_total")] == [1]
        assert (await samples(game))["weft_discord_requests_total POST messages 4xx"] == 1


async def test_a_permission_card_is_counted_while_it_is_open(tmp_path: Path) -> None:
    """R7, Q6: its turn lends its place out meanwhile."""
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    ask: list[Step] = [{"permission": {"tool": {"toolCallId": "t", "title": "run"}, "options": options}, "then": {}}]
    async with play(tmp_path, scenario(tmp_path, ask), health=LOCAL) as game:
        message = await game.mention("hello")
        await game.card(message)
        now = await samples(game)
        assert (now["weft_permission_cards_open"], now["weft_turns_running main"], now["weft_turns_lent main"]) == (
            1, 0, 1,
        )  # fmt: skip
        await game.press(message, "Yes")
        await game.outcome(message)
        assert (await samples(game))["weft_permission_cards_open"] == 0


async def until_health(address: str | None, wanted: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
    with anyio.fail_after(LIMIT):
        while True:
            code, told = await health(address)
            if wanted(code, told):
                return told
            await anyio.sleep(0.01)


async def test_a_pool_whose_maintenance_stalls_is_not_well_until_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7: 503 with the reason, and 200 again."""
    limits, maintain = derived_settings.pool_limits, Registry.maintain
    stalled = False

    def quick(settings: Settings) -> PoolLimits:
        return replace(limits(settings), maintenance=0.05)

    def maybe(registry: Registry) -> None:
        if stalled:
            raise RuntimeError("stalled by the test")
        maintain(registry)

    monkeypatch.setattr(derived_settings, "pool_limits", quick)
    monkeypatch.setattr(Registry, "maintain", maybe)
    async with play(tmp_path, scenario(tmp_path), health=LOCAL) as game:
        address = game.on_stage.bot.health
        told = await until_health(address, lambda code, _: code == 200)
        assert (told["status"], told["problems"]) == ("ok", [])
        stalled = True
        told = await until_health(address, lambda code, _: code == 503)
        assert told["status"] == "failing"
        assert re.fullmatch(r"the pool's last maintenance pass was \d+ s ago", told["problems"][0])
        assert (await samples(game))["weft_healthy"] == 0
        stalled = False
        told = await until_health(address, lambda code, _: code == 200)
        assert told["problems"] == []


async def test_being_disconnected_from_discord_is_told_and_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7, R3"""
    hurry_discord(monkeypatch)
    async with play(tmp_path, scenario(tmp_path), health=LOCAL, clean=False) as game:
        address, discord = game.on_stage.bot.health, game.discord
        assert (await health(address))[1]["parts"]["discord"]["connected"] is True
        may_connect, connect = anyio.Event(), DiscordWebSocket.from_client

        async def later(*given: Any, **more: Any) -> DiscordWebSocket:
            await may_connect.wait()
            return await connect(*given, **more)

        monkeypatch.setattr(DiscordWebSocket, "from_client", later)
        await discord.gateway.close(4000)
        told = await until_health(address, lambda _, told: not told["parts"]["discord"]["connected"])
        assert (told["status"], told["problems"]) == ("ok", [])
        assert (await samples(game))["weft_gateway_connected"] == 0
        may_connect.set()
        told = await until_health(address, lambda _, told: bool(told["parts"]["discord"]["connected"]))
        sessions = await samples(game)
        assert sessions["weft_gateway_sessions_total new"] + sessions["weft_gateway_sessions_total resumed"] == 2


async def test_a_connection_that_hangs_in_one_step_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R7, R3: disconnected for longer than any try takes."""
    async with play(tmp_path, scenario(tmp_path), health=LOCAL, clean=False) as game:
        address = game.on_stage.bot.health

        async def never(*_given: Any, **_more: Any) -> None:
            await anyio.sleep_forever()

        monkeypatch.setattr(DiscordWebSocket, "from_client", never)
        monkeypatch.setitem(connection_health.STUCK_AFTER, connection_health.Step.CONNECTING, 0.05)
        await game.discord.gateway.close(4000)
        told = await until_health(address, lambda code, _: code == 503)
        assert told["problems"][0].startswith("the connection's task hangs: connecting for ")


async def test_nothing_that_was_said_and_no_id_and_no_secret_is_told(tmp_path: Path) -> None:
    """R7, R5: texts, names of tools, the agent's words, the token, ids of people, threads and messages."""
    steps: list[Step] = [
        {"thought": "canary-thought"},
        {"tool": {"id": "canary-id", "title": "canary-tool", "status": "completed", "output": "canary-output"}},
        {"text": "canary-answer"},
        {"error": {"code": -32603, "message": "canary-error"}},
    ]
    async with play(tmp_path, scenario(tmp_path, steps), health=LOCAL) as game:
        message, _ = await game.ask("canary-prompt")
        told = ""
        for path in ("/healthz", "/metrics"):
            told += (await get(game.on_stage.bot.health, path))[1]
        assert "canary" not in told
        discord = game.discord
        assert discord.token not in told
        for number in (message, game.owner.id, discord.channel_id, discord.guild_id, discord.bot_user.id):
            assert str(number) not in told
        assert str(tmp_path) not in told


async def test_the_server_ends_with_the_bot_and_leaves_no_socket(tmp_path: Path) -> None:
    """R7"""
    path = tmp_path / "health.sock"
    descriptors = psutil.Process().num_fds()
    async with play(tmp_path, scenario(tmp_path), health=f"unix:{path}"):
        assert path.is_socket()
    assert not path.exists()
    async with play(tmp_path, scenario(tmp_path), health=LOCAL) as game:
        address = str(game.on_stage.bot.health)
    host, port = address.split(":")
    with socket.socket() as again:
        assert again.connect_ex((host, int(port))) != 0
    assert psutil.Process().num_fds() <= descriptors


async def test_without_the_setting_nothing_listens(tmp_path: Path) -> None:
    """R7: off by default."""
    async with play(tmp_path, scenario(tmp_path)) as game:
        assert game.on_stage.bot.health is None


async def status(directory: Path, address: str) -> tuple[int, str, str]:
    """Run ``weft status`` beside the bot."""
    with anyio.fail_after(LIMIT):
        done = await anyio.run_process(
            [*WEFT, "status"], cwd=directory, env=environment(directory, WEFT_HEALTH=address), check=False
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_weft_status_tells_a_person_how_the_bot_is(tmp_path: Path) -> None:
    """R7, exits: 0 while it is well, and 1 when there is nobody."""
    address = f"unix:{tmp_path}/health.sock"
    async with connected(tmp_path, scenario(tmp_path), WEFT_HEALTH=address) as (discord, bot):
        await until_shown(discord, await mention(discord, "hello"), "-# ")
        with anyio.fail_after(LIMIT):
            await bot.logged("turn.finished")
            code, told, problems = await status(tmp_path, address)
        assert (code, problems) == (0, "")
        lines = told.splitlines()
        assert re.fullmatch(r"Weft \S+( \(\w{7}.*\))? is healthy; up since .* UTC \(\d+ s\)", lines[0])
        assert lines[1].startswith("Discord   connected")
        assert "Agents    1 live (0 busy), 0 starting, 0 ending, at most 12" in lines
        assert "Messages  1 answered" in lines
        assert await bot.signalled(signal.SIGTERM) == 0
        (line,) = [event for event in bot.events() if event["event"] == "turn.finished"]
        assert line["agent"] == "scripted-plain"
        assert (line["lane"], line["mode"], line["stop_reason"], line["attempts"]) == ("main", "queue", "end_turn", 1)
    code, told, problems = await status(tmp_path, address)
    assert (code, told) == (1, "")
    assert problems.startswith(f"weft: no bot at {address} (")


async def test_a_bot_that_drains_still_says_how_it_is(tmp_path: Path) -> None:
    """R7, R1: until the last turn is over, and the last message delivered."""
    address = UnixSocket(tmp_path / "health.sock")
    agent = scenario(tmp_path, HANG)
    async with connected(tmp_path, agent, WEFT_HEALTH=str(address), WEFT_STOP_GRACE="20") as (discord, bot):
        await until_shown(discord, await mention(discord, "hello"), "so far")
        bot.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(LIMIT):
            await bot.logged("bot.stopping")
            told = await ask(address)
        assert told.status is Status.OK
        assert told.parts is not None
        assert told.parts.lanes["main"].running == 1
        assert await bot.signalled(signal.SIGTERM) == 0
    assert not address.path.exists()


async def test_an_address_in_use_stops_the_start_with_a_line_and_78(tmp_path: Path) -> None:
    """R7, exits: a person has to choose another one."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        async with (
            FakeDiscord() as discord,
            run(tmp_path, discord.api_url, discord.token, scenario(tmp_path), WEFT_HEALTH=address) as bot,
        ):
            assert await bot.ended() == 78
    assert bot.plain_lines() == [
        f"weft: WEFT_HEALTH (environment): {address} can't be listened on: Address already in use"
    ]
