"""The tour: with the demo agent, each of its prompts does what its text says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.demo.cast import CHARACTERS
from bot.demo.tour import TOUR, TourStop
from tests.bot.demo.visiting import Visit, visiting

pytestmark = pytest.mark.asyncio

Walk = Callable[[Visit, TourStop], Coroutine[Any, Any, None]]


async def begun(visit: Visit, stop: TourStop) -> int:
    return await visit.write(stop.prompt, stop.person)


async def ask(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "That is a loaf of bread.")
    await visit.write("say more", stop.person, thread)
    await visit.until_shown(thread, "more\n")


async def halt(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "Waiting. Stop me")
    await visit.use(thread, "stop")
    await visit.until_shown(thread, "**Stopped** by `owner`")
    assert "Done waiting" not in visit.shown(thread)


async def permit(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "+write a note for me")
    await visit.press(thread, "Allow once")
    await visit.until_shown(thread, "I wrote `weft-demo.txt`.")


async def stay_out(visit: Visit, stop: TourStop) -> None:
    message = await begun(visit, stop)
    await visit.until_shown(visit.discord.channel_id, "You are not on the list")
    assert all(thread.id != message for thread in visit.discord.threads())


async def two_people(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "rm -rf build && git push --force origin main")
    await visit.press(thread, "Allow once", stop.person)
    await visit.until_shown(thread, "One more person has to agree")
    assert "I would run it now" not in visit.shown(thread)
    await visit.press(thread, "Allow once", "ben")
    await visit.until_shown(thread, "I would run it now")


async def rule(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    opened = await visit.press(thread, "Always here…", stop.person)
    await visit.person(stop.person).submit_modal(opened)
    await visit.until_shown(thread, "I would run it now")
    await visit.write("run npm test", stop.person, thread)
    await visit.until(lambda: visit.shown(thread).count("if this were not a demo.") == 2)
    assert "npm test" in await visit.use(thread, "permissions list", stop.person)


async def answer(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.press(thread, "Green")
    opened = await visit.press(thread, "Answer…")
    await visit.person(stop.person).submit_modal(opened)
    await visit.until_shown(thread, "You want a button with")


async def line_up(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "Waiting. Stop me")
    await visit.write("say next", stop.person, thread)
    await visit.press(thread, "Send now")
    await visit.until_shown(thread, "next\n")
    assert "**Replaced** by a newer message" in visit.shown(thread)
    assert "Done waiting" not in visit.shown(thread)


async def get_file(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until(lambda: [one.name for reply in visit.replies(thread) for one in reply.attachments])
    assert [one.name for reply in visit.replies(thread) for one in reply.attachments] == ["picture.png"]


async def send_file(visit: Visit, stop: TourStop) -> None:
    thread = await visit.write(stop.prompt, stop.person, files=[("notes.txt", b"hello")])
    await visit.until_shown(thread, "`notes.txt`")


async def merge(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.press(thread, "Allow once")
    await visit.until_shown(thread, "I wrote `greeting.py`.")
    assert "greeting.py" in await visit.use(thread, "diff")
    # Nothing is committed below a working agent, and its turn ends a moment after its last word.
    while "is working" in await visit.use(thread, "commit", message="Greet in the evening"):  # noqa: ASYNC110
        await anyio.sleep(0.05)
    await visit.until_shown(thread, "committed")
    await visit.use(thread, "merge")
    await visit.until_shown(thread, "into `main`")


async def plan(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "The plan is done")
    states = [content for reply in visit.replies(thread) for _, content in visit.discord.timeline(reply.id)]
    assert any("Look into the working directory" in content for content in states)


async def read_long(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "12    144")
    assert len(visit.replies(thread)) > 2


async def choose(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "`Demo small`")
    await visit.use(thread, "model", model="demo-large")
    await visit.use(thread, "mode", mode="auto")
    await visit.write("write", stop.person, thread)
    await visit.until_shown(thread, "I wrote `weft-demo.txt`.")
    await visit.until_shown(thread, "`Demo large`")


async def waits(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until(lambda: "Red" in visit.buttons(thread))
    # It may say that nothing waits in the moment in which the card appears.
    while str(thread) not in await visit.use(visit.discord.channel_id, "inbox"):  # noqa: ASYNC110  no event tells that
        await anyio.sleep(0.05)


async def budget(visit: Visit, stop: TourStop) -> None:
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "120% of the budget")
    await visit.write("say more", stop.person, thread)
    await visit.press(thread, "Allow this turn", "ben")
    await visit.until_shown(thread, "more\n")


async def post(visit: Visit, stop: TourStop) -> None:
    forum = visit.on_stage.cast.forum
    thread = (await visit.discord.start_post(visit.person(stop.person), forum, "A note", stop.prompt)).id
    await visit.until(lambda: visit.discord.tags(thread) == ["needs you"])


async def restart(visit: Visit, stop: TourStop) -> None:
    """Told by its first half alone: what follows is in test_page_controls."""
    thread = await begun(visit, stop)
    await visit.until_shown(thread, "That is a loaf of bread.")


WALKS: dict[str, Walk] = {
    "Ask for something": ask,
    "Stop at any moment": halt,
    "Give permission": permit,
    "Stay out without rights": stay_out,
    "Two people for what is dangerous": two_people,
    "Ask no more for what is harmless": rule,
    "Answer a question": answer,
    "Write while it works": line_up,
    "Get a file": get_file,
    "Send a file": send_file,
    "From a change to main": merge,
    "Follow a plan": plan,
    "Read a long answer": read_long,
    "Choose model and mode": choose,
    "Restart in the middle": restart,
    "See what waits for you": waits,
    "Keep to a budget": budget,
    "Open a post": post,
}


@pytest.mark.soak
async def test_each_stop_of_the_tour_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D1, D2, D6, C1, C5, C6, F1, W3, W4, K1, Q5, Q7, A3, A4, S6."""
    assert [stop.title for stop in TOUR] == list(WALKS)
    assert {stop.person for stop in TOUR} <= {one.name for one in CHARACTERS}
    async with visiting(tmp_path, monkeypatch, 0.02) as visit, anyio.create_task_group() as walks:
        for stop in TOUR:
            walks.start_soon(WALKS[stop.title], visit, stop, name=stop.title)
