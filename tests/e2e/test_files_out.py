"""Files from the agent to people: what it leaves in its folder, and what its tools show, is posted in the thread."""

from __future__ import annotations

import base64
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.demo.stage import stage
from bot.model import Outcome
from bot.sandbox import Fault, Message
from tests.agents import Gate, scenario
from tests.e2e.play import LIMIT, play
from tests.e2e.process import connected, mention, run, until_shown
from tests.e2e.tools import call

pytestmark = pytest.mark.asyncio

PNG = b"\x89PNG\r\n\x1a\n picture"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def given(**files: bytes) -> dict[str, Any]:
    """A step that puts files into the thread's folder."""
    return {"files": {f"{{out}}/{name.replace('_', '.')}": encoded(data) for name, data in files.items()}}


def shown(block: dict[str, Any]) -> dict[str, Any]:
    return {"tool": {"title": "look", "content": [{"type": "content", "content": block}]}}


def posted(messages: list[Message]) -> list[dict[str, bytes]]:
    """The files of each message that has some."""
    return [{one.name: one.content for one in message.attachments} for message in messages if message.attachments]


def left(directory: Path) -> list[str]:
    """What lies in the folders for people, and what is on its way."""
    found = directory / "workspace/.weft"
    return sorted(str(path.relative_to(found)) for path in found.rglob("*") if not path.is_dir())


async def test_a_picture_that_the_agent_writes_is_posted_below_its_answer(tmp_path: Path) -> None:
    """F7: as a reply to the prompt, and it is gone from the folder then."""
    agent = scenario(tmp_path, [{"text": "hello"}], [given(plot_png=PNG), {"text": "Here it is."}])
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("start")
        prompt = await game.say(thread_id, "draw")
        assert await game.outcome(prompt) is Outcome.ANSWERED
        *_, answer, files = game.replies(thread_id)
        assert answer.content.startswith("Here it is.\n-# ")
        assert (files.content, posted([files])) == ("-# 📎 `plot.png`", [{"plot.png": PNG}])
        assert files.reference_id == prompt
        assert left(tmp_path) == []
        told = [block["text"] for block in agent.received("session/prompt")[0]["params"]["prompt"]][-1]
        assert f".weft/out/{thread_id}/" in told
        # Once for a session.
        assert len(agent.received("session/prompt")[1]["params"]["prompt"]) == 1


async def test_a_file_alone_is_an_answer(tmp_path: Path) -> None:
    """F7, T4: nothing stands in place of words."""
    agent = scenario(tmp_path, [{"tool": {"title": "draw it", "output": "done"}}, given(plot_png=PNG)])
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("draw")
        assert outcome is Outcome.ANSWERED
        assert posted(game.replies(thread_id)) == [{"plot.png": PNG}]
        assert "draw it" not in game.shown(thread_id)
        assert "without saying anything" not in game.shown(thread_id)


async def test_twelve_files_are_two_messages_and_more_than_twenty_wait(tmp_path: Path) -> None:
    """F7"""
    files = {f"{number:02}_txt": b"x" for number in range(12)}
    many = {f"{number:02}_txt": b"x" for number in range(22)}
    agent = scenario(tmp_path, [given(**files)], [given(**many)], [{"text": "more"}])
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("draw")
        assert [len(message) for message in posted(game.replies(thread_id))] == [10, 2]
        await game.outcome(await game.say(thread_id, "again"))
        assert [len(message) for message in posted(game.replies(thread_id))] == [10, 2, 10, 10]
        assert "A turn posts at most 20 files. After the next one: `20.txt`, `21.txt`." in game.shown(thread_id)
        await game.outcome(await game.say(thread_id, "and"))
        assert posted(game.replies(thread_id))[-1] == {"20.txt": b"x", "21.txt": b"x"}
        assert left(tmp_path) == []


HOSTILE = """
import os
(out / "good.txt").write_text("good")
(out / "link").symlink_to("/etc/passwd")
(out / "folder").mkdir()
os.mkfifo(out / "pipe")
(out / "empty.txt").touch()
with open("outside", "w") as file:
    file.write("outside")
os.link("outside", out / "hard")
with open(out / "big.zip", "wb") as file:
    file.truncate(31 * 2**20)
"""


async def test_what_is_no_plain_file_of_a_fitting_size_is_refused_in_a_line_each(tmp_path: Path) -> None:
    """F7: and said once, not after each turn."""
    agent = scenario(tmp_path, [{"python": HOSTILE}], [{"text": "next"}])
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("draw")
        stays = f" It stays in .weft/out/{thread_id}."
        assert posted(game.replies(thread_id)) == [{"good.txt": b"good"}]
        assert game.replies(thread_id)[-1].content.splitlines() == [
            "-# 📎 `good.txt`",
            f"-# ⚠️ `big.zip` (31 MB) is larger than this server takes (10 MB).{stays}",
            f"-# ⚠️ `empty.txt` is empty.{stays}",
            f"-# ⚠️ `folder` is a folder; only files are posted.{stays}",
            f"-# ⚠️ `hard` is a file with more than one name (a hard link).{stays}",
            f"-# ⚠️ `link` is a link; only files themselves are posted.{stays}",
            f"-# ⚠️ `pipe` is no ordinary file.{stays}",
        ]
        before = len(game.replies(thread_id))
        await game.outcome(await game.say(thread_id, "go on"))
        assert [message.content.splitlines()[0] for message in game.replies(thread_id)[before:]] == ["next"]
        assert len(left(tmp_path)) == 5


async def test_a_folder_that_leads_elsewhere_is_not_looked_into(tmp_path: Path) -> None:
    """F7"""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/private.txt").write_text("private")
    lead_away = f"import os; os.rmdir(out); os.symlink({str(tmp_path / 'elsewhere')!r}, out)"
    agent = scenario(tmp_path, [{"python": lead_away}, {"text": "done"}])
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("draw")
        assert posted(game.replies(thread_id)) == []
        assert f"`.weft/out/{thread_id}` can't be looked into: not a directory." in game.shown(thread_id)
        assert (tmp_path / "elsewhere/private.txt").exists()


async def test_files_in_content_blocks_are_posted_once_each(tmp_path: Path) -> None:
    """F7: those of tools and of the answer, also where the same one lies in the folder."""
    picture: dict[str, Any] = {"type": "image", "data": encoded(PNG), "mimeType": "image/png"}
    other = {"type": "image", "data": encoded(b"other"), "mimeType": "image/jpeg"}
    blob = {"type": "resource", "resource": {"uri": "file:///tmp/report.pdf", "blob": encoded(b"%PDF")}}
    link = {"type": "resource_link", "name": "the board", "uri": "https://example.org/board"}
    chunk = {"update": {"sessionUpdate": "agent_message_chunk", "content": other}}
    agent = scenario(
        tmp_path,
        [given(plot_png=PNG), *(shown(one) for one in (picture, picture, blob, link)), chunk, {"text": "Look."}],
    )
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("draw")
        assert posted(game.replies(thread_id)) == [{"plot.png": PNG, "report.pdf": b"%PDF", "image.jpg": b"other"}]
        assert "🔗 `the board`: <https://example.org/board>" in game.shown(thread_id)
        assert "[image]" not in game.shown(thread_id)
        assert left(tmp_path) == []


async def test_a_secret_in_a_file_is_taken_out(tmp_path: Path) -> None:
    """F7, R5: in its name and in its content, be it text or not."""
    agent = scenario(tmp_path, [{"text": "none"}])
    async with play(tmp_path, agent) as game:
        token = game.discord.token
        folder = tmp_path / "workspace/.weft/out"
        thread_id, _ = await game.ask("start")
        (folder / str(thread_id)).mkdir(parents=True)
        (folder / str(thread_id) / "env.txt").write_text(f"TOKEN={token}\n")
        (folder / str(thread_id) / "dump.bin").write_bytes(b"\xff\0" * 2**19 + token.encode() + b"\xfe" * 9)
        await game.outcome(await game.say(thread_id, "go on"))
        (files,) = posted(game.replies(thread_id))
        assert files["env.txt"] == b"TOKEN=[secret]\n"
        assert files["dump.bin"] == b"\xff\0" * 2**19 + b"[secret]" + b"\xfe" * 9


async def test_two_threads_in_one_directory_have_a_folder_each(tmp_path: Path) -> None:
    """F7: and what lies beside the folders is nobody's while both work."""
    gate = Gate(tmp_path / "gate")
    plain = {"files": {".weft/out/plain.txt": encoded(b"whose?")}}
    words = {
        "one": [given(a_txt=b"one"), {"text": "so far"}, gate.step],
        "two": [given(b_txt=b"two"), plain, {"text": "done"}],
        "three": [{"files": {".weft/out/mine.txt": encoded(b"mine")}}],
    }
    agent = scenario(tmp_path, [{"text": "none"}], words=words)
    async with play(tmp_path, agent) as game:
        first = await game.mention("one")
        await game.until_shown(first, "so far")
        second, _ = await game.ask("two")
        assert posted(game.replies(second)) == [{"b.txt": b"two"}]
        line = "`plain.txt` is in .weft/out itself, which other threads use, too. It stays in .weft/out."
        assert line in game.shown(second)
        gate.open()
        await game.outcome(first)
        assert posted(game.replies(first)) == [{"a.txt": b"one"}]
        # Alone there, a turn may use the folder itself.
        third, _ = await game.ask("three")
        assert posted(game.replies(third)) == [{"mine.txt": b"mine"}]
        assert left(tmp_path) == ["out/plain.txt"]


async def test_a_directory_of_its_own_makes_the_folder_itself_a_threads(tmp_path: Path) -> None:
    """F7"""
    agent = scenario(tmp_path, [{"files": {".weft/out/plot.png": encoded(PNG)}}, {"text": "done"}])
    async with play(tmp_path, agent, workspace=str(tmp_path / "workspace/{thread_id}")) as game:
        thread_id, _ = await game.ask("draw")
        assert posted(game.replies(thread_id)) == [{"plot.png": PNG}]


async def test_files_that_discord_refuses_go_back_and_it_is_said(tmp_path: Path) -> None:
    """F7: nothing is lost."""
    agent = scenario(tmp_path, [given(plot_png=PNG), {"text": "Here."}], [{"text": "next"}])
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.deny("attach_files", game.discord.channel_id)
        thread_id, _ = await game.ask("draw")
        line = "`plot.png` could not be posted: I lack the permission Attach Files. It is back in .weft/out/"
        assert line in game.shown(thread_id)
        assert left(tmp_path) == [f"out/{thread_id}/plot.png"]
        game.discord.allow("attach_files", game.discord.channel_id)
        await game.outcome(await game.say(thread_id, "again"))
        assert posted(game.replies(thread_id)) == [{"plot.png": PNG}]
        assert left(tmp_path) == []


async def test_a_kill_after_the_post_and_before_it_is_written_down_posts_nothing_twice(tmp_path: Path) -> None:
    """F7, R2"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "hello"}], [given(plot_png=PNG), {"text": "Here."}, gate.step], resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "start")
        await until_shown(discord, thread_id, "hello")
        await discord.owner.say(thread_id, "draw")
        await until_shown(discord, thread_id, "Here.")
        # Discord has the message, and the bot does not hear of it.
        discord.faults.next("POST", rf"/channels/{thread_id}/messages$", Fault.RESET_AFTER, times=100)
        gate.open()
        await discord.wait_for(lambda _: posted(discord.messages(thread_id)), timeout=LIMIT)
        assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        assert list((tmp_path / ".weft/sending").rglob("plot.png"))
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            with anyio.fail_after(LIMIT):
                while (tmp_path / ".weft/sending").exists():  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            assert posted(discord.messages(thread_id)) == [{"plot.png": PNG}]
            assert await again.signalled(signal.SIGTERM) == 0


async def test_a_kill_posts_no_file_twice_that_has_the_name_of_another_one(tmp_path: Path) -> None:
    """M2, F7, R2: what was sent is known again by its words, whatever else was left."""
    first, then, other = Gate(tmp_path / "first"), Gate(tmp_path / "then"), b"%PDF other"
    write = {"files": {"plot.png": encoded(PNG)}}
    sent = [{"text": "so far"}, first.step, write, call("send_file", path="plot.png", caption="Look."), then.step]
    agent = scenario(tmp_path, [{"text": "hello"}], [*sent, given(plot_png=other)], resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "start")
        await until_shown(discord, thread_id, "hello")
        await discord.owner.say(thread_id, "draw")
        await until_shown(discord, thread_id, "so far")
        # Discord has the message, and the bot does not hear of it.
        discord.faults.next("POST", rf"/channels/{thread_id}/messages$", Fault.RESET_AFTER, times=100)
        first.open()
        await discord.wait_for(lambda _: posted(discord.messages(thread_id)), timeout=LIMIT)
        then.open()
        with anyio.fail_after(LIMIT):
            while len(list((tmp_path / ".weft/sending").rglob("plot.png"))) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            with anyio.fail_after(LIMIT):
                while (tmp_path / ".weft/sending").exists():  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            contents = [list(one.values()) for one in posted(discord.messages(thread_id))]
            assert contents == [[PNG], [other]]
            assert await again.signalled(signal.SIGTERM) == 0


async def test_a_kill_in_the_turn_leaves_its_files_to_the_next_run(tmp_path: Path) -> None:
    """F7, R2"""
    steps = [given(plot_png=PNG), {"text": "so far"}, {"hang": True}]
    agent = scenario(tmp_path, [{"text": "hello"}], steps, counter="log", resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "start")
        await until_shown(discord, thread_id, "hello")
        await discord.owner.say(thread_id, "draw")
        await until_shown(discord, thread_id, "so far")
        assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await discord.wait_for(lambda _: posted(discord.messages(thread_id)), timeout=LIMIT)
            assert posted(discord.messages(thread_id)) == [{"plot.png": PNG}]
            assert await again.signalled(signal.SIGTERM) == 0


async def test_the_demo_agent_draws_a_picture_and_says_what_it_got(tmp_path: Path) -> None:
    """F1, F7: by the real agent of the demo, both ways."""
    with anyio.fail_after(LIMIT):
        async with stage(directory=tmp_path, debounce=0) as on_stage:
            discord = on_stage.discord
            asked = await discord.owner.say(discord.channel_id, "draw a picture", mention_bot=True)
            assert await on_stage.outcome(asked.id) is Outcome.ANSWERED
            ((name, data),) = posted(discord.messages(asked.id))[0].items()
            assert (name, data[:8]) == ("picture.png", b"\x89PNG\r\n\x1a\n")
            sent = await discord.owner.say(asked.id, "files", files=[("a.zip", b"PK\0\xff")])
            assert await on_stage.outcome(sent.id) is Outcome.ANSWERED
            shown = "\n".join(message.content for message in discord.messages(asked.id))
            assert "I got these files:\n- `a.zip` (resource_link, " in shown
            assert "From Weft" not in shown
