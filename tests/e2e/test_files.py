"""Files from the person to the agent: through Discord's CDN, the workspace and the prompt."""

from __future__ import annotations

import base64
import io
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image

from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, scenario
from tests.e2e.busy import friends, held
from tests.e2e.play import Play, play, until_marked
from tests.e2e.process import HANG, connected, mention, run, until_answered, until_shown

pytestmark = pytest.mark.asyncio

HEADLINE = "[Attached files, saved in your working directory:]"


def agent_that(directory: Path, *takes: str, **keys: Any) -> ScriptedAgent:
    """An agent that takes some content, and answers each prompt in one word."""
    return scenario(directory, [{"text": "done"}], agent={"promptCapabilities": dict.fromkeys(takes, True)}, **keys)


def blocks(agent: ScriptedAgent, number: int = -1) -> list[dict[str, Any]]:
    """What the agent was prompted with."""
    prompt: list[dict[str, Any]] = agent.received("session/prompt")[number]["params"]["prompt"]
    return [block for block in prompt if not block.get("text", "").startswith("[From Weft")]


def kinds(agent: ScriptedAgent, number: int = -1) -> list[str]:
    return [block["type"] for block in blocks(agent, number)]


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def saved(directory: Path, message_id: int) -> dict[str, bytes]:
    found = directory / "workspace/.weft/in" / str(message_id)
    return {path.name: path.read_bytes() for path in found.iterdir() if path.name != ".thread"}


async def send(game: Play, thread_id: int, *files: tuple[str, bytes], text: str = "", **options: Any) -> int:
    return (await game.owner.say(thread_id, text, files=files, **options)).id


async def test_files_of_a_command_reach_the_agent_like_those_of_a_message(tmp_path: Path) -> None:
    """S4, S5, F1, F2, F4: also into a thread, where the conversation begins anew; a name that was given stays."""
    agent = agent_that(tmp_path, "embeddedContext", titles="prompt")
    async with play(tmp_path, agent, max_file_bytes=100) as game:
        files = {"file": ("a.txt", b"hello"), "file2": ("large.txt", b"x" * 101)}
        opened = await game.owner.slash(game.discord.channel_id, "new", prompt="read", title="Reading", **files)
        thread_id = opened.original_id or 0
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert [thread.name for thread in game.discord.threads()] == ["Reading"]
        assert (kinds(agent), saved(tmp_path, thread_id)) == (["text", "resource"], {"a.txt": b"hello"})
        assert "`large.txt`" in game.shown(thread_id)
        again = await game.owner.slash(thread_id, "new", file=("b.txt", b"again"))
        assert await game.outcome(again.original_id or 0) is Outcome.ANSWERED
        assert saved(tmp_path, again.original_id or 0) == {"b.txt": b"again"}
        assert [thread.name for thread in game.discord.threads()] == ["Reading"]


async def test_files_reach_the_agent_in_the_shape_that_it_takes(tmp_path: Path) -> None:
    """F1, F2, F5."""
    picture = png(2000, 500)
    files = [("a.png", picture), ("b.txt", b"hello"), ("c.zip", b"PK\0\xff")]
    agent = agent_that(tmp_path, "image", "embeddedContext")
    async with play(tmp_path, agent) as game:
        message = await game.owner.say(game.discord.channel_id, "look", mention_bot=True, files=files)
        assert await game.outcome(message.id) is Outcome.ANSWERED
        text, image, embedded, link = blocks(agent)
        assert text["text"].startswith(f"look\n\n{HEADLINE}\n> .weft/in/{message.id}/a.png (image/png, ")
        assert (image["type"], image["mimeType"]) == ("image", "image/png")
        assert Image.open(io.BytesIO(base64.b64decode(image["data"]))).size == (1568, 392)
        place = (tmp_path / "workspace/.weft/in" / str(message.id)).as_uri()
        assert embedded["resource"] == {"uri": f"{place}/b.txt", "text": "hello", "mimeType": "text/plain"}
        assert (link["type"], link["uri"], link["size"]) == ("resource_link", f"{place}/c.zip", 4)
        assert saved(tmp_path, message.id) == dict(files)
        assert all("authorization" not in request.headers for request in game.discord.cdn.requests)


async def test_an_agent_that_takes_nothing_gets_links_and_files_alone_are_a_prompt(tmp_path: Path) -> None:
    """F1, D1."""
    agent = agent_that(tmp_path)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("start")
        message_id = await send(game, thread_id, ("a.png", png(9, 9)), ("b.txt", b"hello"))
        assert await game.outcome(message_id) is Outcome.ANSWERED
        assert kinds(agent) == ["text", "resource_link", "resource_link"]
        assert blocks(agent)[0]["text"].startswith(HEADLINE)


async def test_files_of_what_is_replied_to_and_forwarded_come_along_with_fresh_addresses(tmp_path: Path) -> None:
    """F1, F3."""
    agent = agent_that(tmp_path, "embeddedContext")
    async with play(tmp_path, agent, **friends("bob")) as game:
        thread_id, _ = await game.ask("start")
        fd, bob = game.discord, game.discord.user("bob")
        original = await fd.user("eve").say(thread_id, "mine", files=[("log.txt", b"error 7")])
        forwarded = await bob.forward(original, thread_id)
        assert await game.outcome(forwarded.id) is Outcome.ANSWERED
        assert blocks(agent)[1]["resource"]["text"] == "error 7"
        assert "[Files of the forwarded message, saved" in blocks(agent)[0]["text"]
        # The address that comes with the reply is refused, so it is asked for anew.
        fd.cdn.answer("log.txt", 403)
        reply = await game.owner.say(thread_id, "fix this", reply_to=original)
        assert await game.outcome(reply.id) is Outcome.ANSWERED
        assert blocks(agent)[1]["resource"]["text"] == "error 7"
        assert "[Files of the message replied to, saved" in blocks(agent)[0]["text"]


async def test_the_files_of_queued_messages_that_become_one_prompt_come_together(tmp_path: Path) -> None:
    """F1, Q2: each with its message."""
    gate = Gate(tmp_path / "gate")
    agent = agent_that(tmp_path, "embeddedContext", words={"first": held(gate)})
    async with play(tmp_path, agent, queue_mode="followup", reactions=True, **friends("bob")) as game:
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "so far")
        one = await send(game, thread_id, ("a.txt", b"one"), text="look")
        two = (await game.discord.user("bob").say(thread_id, "and here", files=[("a.txt", b"two")])).id
        await until_marked(game.discord, one, two)
        gate.open()
        assert [await game.outcome(number) for number in (one, two)] == [Outcome.ANSWERED] * 2
        text, *resources = blocks(agent)
        assert [block["resource"]["text"] for block in resources] == ["one", "two"]
        first, second = text["text"].split("[bob")
        assert f".weft/in/{one}/a.txt" in first
        assert f".weft/in/{two}/a.txt" in second


async def test_a_slow_file_changes_no_order_and_a_stop_ends_its_wait(tmp_path: Path) -> None:
    """F3, T6, Q1."""
    agent = agent_that(tmp_path)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("start")
        game.discord.cdn.hang("slow.bin", after=3)
        slow = await send(game, thread_id, ("slow.bin", b"0123456789"), text="first")
        after = await game.say(thread_id, "second")
        await game.discord.wait_for(lambda fd: fd.cdn.requests)
        assert agent.prompts()[1:] == []
        started = anyio.current_time()
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(slow) is Outcome.STOPPED
        assert anyio.current_time() - started < 30
        assert await game.outcome(after) is Outcome.ANSWERED
        assert agent.prompts()[1:] == ["second"]
        assert saved(tmp_path, slow) == {}


async def test_what_can_t_be_had_is_told_to_both_and_the_rest_goes_on(tmp_path: Path) -> None:
    """F4: a size that is a lie, a stream without end, a redirect elsewhere, a hostile name, an image that is none."""
    agent = agent_that(tmp_path, "image", "embeddedContext")
    async with play(tmp_path, agent, max_file_bytes=200_000) as game:
        thread_id, _ = await game.ask("start")
        cdn = game.discord.cdn
        cdn.endless("endless.bin")
        cdn.answer("elsewhere.bin", 302, {"Location": "http://127.0.0.1:1/x"})
        message_id = await send(
            game,
            thread_id,
            ("lie.bin", b"x" * 200_001),
            ("endless.bin", b"x"),
            ("elsewhere.bin", b"x"),
            ("broken.png", png(300, 300)[:70]),
            ("fine.txt", b"fine"),
            text="look",
            declared=1,
        )
        assert await game.outcome(message_id) is Outcome.ANSWERED
        assert kinds(agent) == ["text", "resource_link", "resource"]
        await game.until_shown(thread_id, "not as an image: `broken.png` (it is damaged)")
        shown = game.shown(thread_id)
        assert "Not passed on: `lie.bin`, `endless.bin` (it is larger than 0.191 MiB); `elsewhere.bin`" in shown
        text = blocks(agent)[0]["text"]
        assert "[Attached, but not passed on to you:]\n> lie.bin (application/octet-stream, 1 byte): it is" in text
        assert sorted(saved(tmp_path, message_id)) == ["broken.png", "fine.txt"]


async def test_where_nothing_is_left_the_turn_fails_with_the_reason(tmp_path: Path) -> None:
    """F4"""
    agent = agent_that(tmp_path)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("start")
        game.discord.cdn.answer("a.bin", 410)
        message_id = await send(game, thread_id, ("a.bin", b"x"))
        assert await game.outcome(message_id) is Outcome.FAILED
        await game.until_shown(thread_id, "Discord did not send it")
        assert agent.prompts() == ["start"]
        assert await game.outcome(await game.say(thread_id, "go on")) is Outcome.ANSWERED


async def test_a_link_planted_in_the_workspace_leads_nowhere(tmp_path: Path) -> None:
    """F2, F4"""
    agent, elsewhere = agent_that(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with play(tmp_path, agent) as game:
        (tmp_path / "workspace/.weft").symlink_to(elsewhere)
        thread_id, _ = await game.ask("start")
        message_id = await send(game, thread_id, ("a.txt", b"x"), text="look")
        assert await game.outcome(message_id) is Outcome.ANSWERED
        await game.until_shown(thread_id, "something else lies in the place of .weft")
        assert list(elsewhere.iterdir()) == []


async def test_a_voice_message_is_heard_or_written_down(tmp_path: Path) -> None:
    """F6"""
    script = tmp_path / "transcribe.py"
    script.write_text("import sys; print('fix the', open(sys.argv[1]).read())")
    agent = agent_that(tmp_path)
    async with play(tmp_path, agent, transcribe=(sys.executable, str(script))) as game:
        thread_id, _ = await game.ask("start")
        message_id = await send(game, thread_id, ("voice-message.ogg", b"login"), voice=True)
        assert await game.outcome(message_id) is Outcome.ANSWERED
        await game.until_shown(thread_id, "> fix the login\n-# What I heard.")
        assert "[Transcript of voice-message.ogg:]\n> fix the login" in blocks(agent)[0]["text"]


async def test_a_reset_removes_the_files_of_its_thread(tmp_path: Path) -> None:
    """F2, Q8"""
    agent = agent_that(tmp_path)
    async with play(tmp_path, agent) as game:
        (one, _), (two, _) = await game.ask("start"), await game.ask("start")
        mine, other = [await send(game, thread, ("a.txt", b"x"), text="look") for thread in (one, two)]
        assert [await game.outcome(number) for number in (mine, other)] == [Outcome.ANSWERED] * 2
        directory = tmp_path / "workspace/.weft/in"
        await game.owner.slash(one, "reset")
        with anyio.fail_after(30):
            while (directory / str(mine)).exists():  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert saved(tmp_path, other) == {"a.txt": b"x"}


async def test_files_put_into_a_running_turn_come_with_their_words(tmp_path: Path) -> None:
    """F1, Q2: and are not overtaken by what was said after them."""
    gate = Gate(tmp_path / "gate")
    agent = agent_that(tmp_path, "embeddedContext", words={"first": held(gate)}, steering=True)
    async with play(tmp_path, agent, queue_mode="steer") as game:
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "so far")
        one = await send(game, thread_id, ("a.txt", b"one"), text="look")
        two = await game.say(thread_id, "two")
        for number in (one, two):
            assert await game.outcome(number) is Outcome.ANSWERED
        said = agent.received("_session/steering")
        assert [block["type"] for block in said[0]["params"]["prompt"]] == ["text", "resource"]
        assert "look" in said[0]["params"]["prompt"][0]["text"]
        gate.open()


async def test_a_restart_between_acceptance_and_turn_keeps_the_files(tmp_path: Path) -> None:
    """F3, R2: also where the address that was kept is not good any more."""
    agent = agent_that(tmp_path, "embeddedContext", words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        waiting = await discord.owner.say(thread_id, "look", files=[("a.txt", b"kept")])
        await until_marked(discord, waiting.id)
        assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        assert discord.cdn.requests == []
        discord.cdn.answer("a.txt", 404)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "done")
            assert blocks(agent)[0]["text"].startswith(f"look\n\n{HEADLINE}\n> .weft/in/{waiting.id}/a.txt")
            assert blocks(agent)[1]["resource"]["text"] == "kept"
            assert await again.signalled(signal.SIGTERM) == 0
