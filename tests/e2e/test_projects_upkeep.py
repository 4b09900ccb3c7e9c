"""Which work trees there are, who sees them, and what removes them: people, age, and never anything with work in it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.chat.commands.projects import NO_LONGER
from bot.model import Outcome
from bot.sandbox import Interaction, Person
from bot.work.projects.upkeep import DAY
from tests.agents import Gate, Step
from tests.bot.work.repositories import needs_git, run_git
from tests.e2e.busy import friends
from tests.e2e.play import Play
from tests.e2e.test_projects import on_web, rows, tree_of, web
from tests.e2e.test_projects_merging import editing, give, told, until_told, writes

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices"), needs_git]

UNKNOWN_CHANNEL = 10003
"""What Discord answers about a thread that was deleted."""


async def listed(game: Play, person: Person | None = None) -> Interaction:
    used = await (person or game.owner).slash(game.discord.channel_id, "worktrees")
    await used.told()
    return used


def lines(shown: Interaction) -> list[str]:
    """Return the list without sizes and times."""
    text = str((shown.response or {}).get("content"))
    return [re.sub(r" · (?:<t:\d+:R>|(?:over )?[\d,.]+ [MG]B)", "", line) for line in text.splitlines()]


def parts(shown: Interaction) -> list[dict[str, Any]]:
    rows_of = (shown.response or {}).get("components") or []
    return [one for row in rows_of for one in row["components"]]


async def chosen(shown: Interaction, number: int, person: Person) -> Interaction:
    """Choose a work tree of a list."""
    (menu,) = (one for one in parts(shown) if "options" in one)
    value = next(one["value"] for one in menu["options"] if one["label"].startswith(f"{number}. "))
    assert shown.original_id is not None
    used = await person.choose(shown.original_id, menu["custom_id"], value)
    await used.told()
    return used


async def pressed(shown: Interaction, label: str, person: Person) -> Interaction:
    assert shown.original_id is not None
    custom_id = next(one["custom_id"] for one in parts(shown) if one.get("label") == label)
    used = await person.click(shown.original_id, custom_id)
    await used.told()
    return used


async def text_of(used: Interaction) -> str:
    return await used.told()


async def removed(game: Play, number: int, person: Person | None = None) -> Interaction:
    who = person or game.owner
    return await pressed(await chosen(await listed(game, who), number, who), "Remove", who)


@pytest.mark.soak
async def test_what_is_merged_is_removed_and_what_is_not_only_by_who_may_and_kept(tmp_path: Path) -> None:
    """W4: the list says why; what nobody committed is found again in the repository."""
    agent = editing(tmp_path, {"merged": writes(0, "one"), "open": writes(0, "two")})
    async with on_web(tmp_path, agent, **friends("alice")) as game:
        alice = game.discord.user("alice")
        merged, _ = await game.ask("merged")
        assert await give(game, merged, "commit") == ""
        assert await give(game, merged, "merge") == ""
        unmerged = await game.mention("open", alice)
        assert await game.outcome(unmerged) is Outcome.ANSWERED
        branches = {thread_id: rows(game)[thread_id].branch for thread_id in (merged, unmerged)}
        shown = await listed(game)
        assert lines(shown) == [
            "**Work trees**",
            f"1. `{branches[unmerged]}` · <#{unmerged}> · `web` · not committed",
            f"2. `{branches[merged]}` · <#{merged}> · `web` · merged",
        ]
        # 1. One that is safe: its agent ends, its thread reads it.
        gone = await removed(game, 2)
        assert (await text_of(gone)).startswith("Removed. Its branch")
        assert not tree_of(tmp_path, merged).exists()
        await until_told(game, merged, "removed this thread's work tree. Your next message brings it back.")
        # 2. One that is not: its author can't, and approvers and owners are asked once more.
        refused = await removed(game, 1, alice)
        assert await text_of(refused) == (
            "Not removed: something in it is not committed.\n"
            "-# Approvers and the owner of this bot can remove it anyway."
        )
        refused = await removed(game, 1)
        assert await text_of(refused) == "Not removed: something in it is not committed."
        asked = await pressed(refused, "Remove anyway…", game.owner)
        assert f"`refs/weft/kept/{unmerged}/`" in await text_of(asked)
        assert tree_of(tmp_path, unmerged).exists()
        twice: list[str] = []

        async def sure() -> None:
            twice.append(await text_of(await pressed(asked, "Yes, remove it", game.owner)))

        async with anyio.create_task_group() as presses:
            presses.start_soon(sure)
            presses.start_soon(sure)
        done, second = sorted(twice, key=len, reverse=True)
        assert second in ("It is removed already.", NO_LONGER.text)
        await until_told(game, unmerged, "removed this thread's work tree")
        found = re.search(r"kept there as `(refs/weft/kept/[^`]*)`", done)
        assert found, done
        assert run_git(tmp_path / "web", "show", f"{found[1]}:notes.txt").startswith("two")
        assert not tree_of(tmp_path, unmerged).exists()
        assert lines(await listed(game)) == ["There are no work trees that you can see here."]
        # 3. Each goes on with its next message.
        for thread_id in (merged, unmerged):
            assert await game.outcome(await game.say(thread_id, "open")) is Outcome.ANSWERED
            assert (tree_of(tmp_path, thread_id) / "notes.txt").read_text().startswith("two")
            assert len(told(game, thread_id, "removed this thread's work tree")) == 1


async def test_nobody_learns_of_threads_that_they_do_not_see(tmp_path: Path) -> None:
    """W4, D2: neither by the list, nor by a button that they make up."""
    agent = editing(tmp_path, {"secret": writes(0, "one")})
    async with on_web(tmp_path, agent, clean=False, **friends("alice")) as game:
        alice, channel = game.discord.user("alice"), game.discord.channel_id
        secret = await game.discord.start_private_thread(game.owner, channel, "secret plan")
        asked = await game.owner.say(secret.id, "secret plan", mention_bot=True)
        assert await game.outcome(asked.id) is Outcome.ANSWERED
        mine = await listed(game)
        assert f"<#{secret.id}>" in lines(mine)[1]
        assert lines(await listed(game, alice)) == ["There are no work trees that you can see here."]
        other, _ = await game.ask("secret too")
        hers = await listed(game, alice)
        assert [f"<#{other}>" in line for line in lines(hers)[1:]] == [True]
        game.discord.assert_clean([10007])  # Discord was asked whether alice is a member


@pytest.mark.soak
async def test_trees_without_a_thread_a_row_or_a_directory_are_listed_and_go(tmp_path: Path) -> None:
    """W4, W5: a deleted thread's work stays until somebody who may says otherwise."""
    agent = editing(tmp_path, {"one": writes(0, "one"), "two": writes(0, "two"), "three": writes(0, "three")})
    async with on_web(tmp_path, agent, clean=False, **friends("alice")) as game:
        threads = [(await game.ask(word))[0] for word in ("one", "two", "three")]
        deleted, missing, lost = threads
        await game.discord.delete_channel(deleted)
        shutil.rmtree(tree_of(tmp_path, missing))
        projects = game.on_stage.bot.dispatcher.projects
        branches = [rows(game)[thread_id].branch for thread_id in threads]
        for thread_id in threads:
            game.on_stage.bot.pool.evict(thread_id)
        await game.agents_gone()
        await projects.drop(lost)
        found = sorted(lines(await listed(game))[1:], key=lambda line: line[3:])
        assert [line[3:] for line in found] == sorted([
            f"`{branches[0]}` · its thread is gone · `web` · not committed",
            f"`{branches[1]}` · <#{missing}> · `web` · its directory is gone",
            f"`{branches[2]}` · <#{lost}> · `web` · no thread has it; not committed",
        ])  # fmt: skip
        hers = "\n".join(lines(await listed(game, game.discord.user("alice"))))
        assert branches[0] not in hers
        assert (tree_of(tmp_path, deleted) / "notes.txt").read_text().startswith("one")
        for branch in branches:
            shown = await listed(game)
            number = next(int(line.split(".")[0]) for line in lines(shown)[1:] if f"`{branch}`" in line)
            answer = await removed(game, number)
            if "Not removed" in await text_of(answer):
                asked = await pressed(answer, "Remove anyway…", game.owner)
                answer = await pressed(asked, "Yes, remove it", game.owner)
            assert (await text_of(answer)).startswith("Removed."), await text_of(answer)
        assert lines(await listed(game)) == ["There are no work trees that you can see here."]
        assert list((tmp_path / "state/worktrees/web").glob("[0-9]*")) == []
        game.discord.assert_clean([UNKNOWN_CHANNEL])


@pytest.mark.soak
async def test_the_tree_of_a_copied_thread_belongs_to_the_copy(tmp_path: Path) -> None:
    """W4, S2: in the list, for who gave the copy its first prompt, and in what its thread reads."""
    offers = {"fork": True, "resume": True, "close": True, "store": str(tmp_path / "kept")}
    agent = editing(tmp_path, {"open": writes(0, "one"), "other": writes(1, "two")}, **offers)
    async with on_web(tmp_path, agent, clean=False, **friends("alice")) as game:
        alice = game.discord.user("alice")
        first, _ = await game.ask("open")
        assert await give(game, first, "commit") == ""
        copied = await (await alice.slash(first, "fork", prompt="other")).told()
        found = re.search(r"<#(\d+)>", copied)
        assert found, copied
        copy = int(found[1])
        assert await game.outcome(copy) is Outcome.ANSWERED
        shown = await listed(game, alice)
        assert {line.split(" · ")[1] for line in lines(shown)[1:]} == {f"<#{first}>", f"<#{copy}>"}
        assert await give(game, copy, "commit", alice) == ""
        assert await give(game, copy, "merge", alice) == ""
        (number,) = (line.split(".")[0] for line in lines(await listed(game, alice)) if f"<#{copy}>" in line)
        assert (await text_of(await removed(game, int(number), alice))).startswith("Removed.")
        await until_told(game, copy, "`alice` removed this thread's work tree.")
        assert [f"<#{first}>" in line for line in lines(await listed(game))[1:]] == [True]


@pytest.mark.soak
async def test_a_list_has_pages(tmp_path: Path) -> None:
    """W4: five at once, those that were used last first."""
    async with on_web(tmp_path, editing(tmp_path, {}), max_agents=7) as game:
        threads = [(await game.ask(f"task {number}"))[0] for number in range(6)]
        shown = await listed(game)
        assert lines(shown)[0] == "**Work trees** (1 of 2)"
        older = await pressed(shown, "Older", game.owner)
        both = lines(shown)[1:] + lines(older)[1:]
        assert len(both) == 6
        assert {f"<#{thread_id}>" for thread_id in threads} == {line.split(" · ")[1] for line in both}
        newer = await pressed(older, "Newer", game.owner)
        assert lines(newer) == lines(shown)


@pytest.mark.soak
async def test_merged_trees_go_by_themselves_after_their_time_and_no_others(tmp_path: Path) -> None:
    """W5: with a line in the thread; not while somebody works in one, nor one with anything in it."""
    words: dict[str, list[Step]] = {
        "merged": writes(0, "one"),
        "open": writes(0, "two"),
        "wait": [{"mark": "begun"}, {"hang": True}],
    }
    agent = editing(tmp_path, words)
    async with on_web(tmp_path, agent, web(tmp_path, keep_days=3)) as game:
        upkeep = game.on_stage.bot.dispatcher.trees.upkeep
        merged, _ = await game.ask("merged")
        assert await give(game, merged, "commit") == ""
        assert await give(game, merged, "merge") == ""
        unmerged, _ = await game.ask("open")
        now = upkeep.wall()
        upkeep.wall = lambda: now + 3 * DAY - 60
        await upkeep.pass_once()
        assert tree_of(tmp_path, merged).exists()
        upkeep.wall = lambda: now + 3 * DAY + 60
        busy = await game.say(merged, "wait")
        await agent.seen("mark")
        await upkeep.pass_once()
        assert tree_of(tmp_path, merged).exists()
        await game.stop(merged)
        assert await game.outcome(busy) is Outcome.STOPPED
        # Stopping it was using it.
        upkeep.wall = lambda: now + 7 * DAY
        branch = rows(game)[merged].branch
        await upkeep.pass_once()
        line = await until_told(game, merged, "was removed")
        assert line.content == (
            f"-# 🌿 This thread's work tree was removed: `{branch}` is merged into `main`, and nobody used it for "
            "3 days. Your next message brings it back."
        )
        assert (tree_of(tmp_path, merged).exists(), tree_of(tmp_path, unmerged).exists()) == (False, True)
        assert set(rows(game)) == {unmerged}
        assert await game.outcome(await game.say(merged, "open")) is Outcome.ANSWERED
        assert (tree_of(tmp_path, merged) / "notes.txt").read_text().startswith("two")


async def test_a_removal_that_was_cut_off_is_brought_to_its_end(tmp_path: Path) -> None:
    """W5, R2: as it was begun; what is nowhere else goes only if somebody said so, and is kept."""
    async with on_web(tmp_path, editing(tmp_path, {"open": writes(0, "two")})) as game:
        threads = [(await game.ask("open"))[0] for _ in range(2)]
        for thread_id in threads:
            game.on_stage.bot.pool.evict(thread_id)
        await game.agents_gone()
        projects = game.on_stage.bot.dispatcher.projects
        anyway, safely = (rows(game)[thread_id] for thread_id in threads)
        await projects.keep(replace(anyway, state="removing", payload='{"anyway":true}'))
        await projects.keep(replace(safely, state="removing"))
        await game.on_stage.bot.dispatcher.trees.upkeep.pass_once()
        assert {thread_id: row.state for thread_id, row in rows(game).items()} == {threads[1]: "ready"}
        assert [tree_of(tmp_path, thread_id).exists() for thread_id in threads] == [False, True]
        (kept,) = run_git(tmp_path / "web", "for-each-ref", "--format=%(refname)", "refs/weft/kept").split()
        assert run_git(tmp_path / "web", "show", f"{kept}:notes.txt").startswith("two")


async def test_archiving_a_thread_ends_its_agent_and_keeps_its_tree(tmp_path: Path) -> None:
    """W5, D10: at once if nothing runs there, else after the turn; and a reset keeps it, too."""
    async with on_web(tmp_path, editing(tmp_path, {"open": writes(0, "two")})) as game:
        thread_id, _ = await game.ask("open")
        await until_told(game, thread_id, " · `weft/")
        await game.discord.archive(thread_id)
        await game.agents_gone()
        assert (tree_of(tmp_path, thread_id) / "notes.txt").read_text().startswith("two")
        await game.owner.slash(thread_id, "reset")
        assert await game.outcome(await game.say(thread_id, "go on")) is Outcome.ANSWERED
        assert (tree_of(tmp_path, thread_id) / "notes.txt").read_text().startswith("two")
        assert told(game, thread_id, "recreated") == []


async def test_archiving_a_thread_amid_a_turn_ends_the_agent_after_it(tmp_path: Path) -> None:
    """W5, D10: the turn goes on, and what it says opens the thread again."""
    gate = Gate(tmp_path / "gate")
    agent = editing(tmp_path, {"open": [{"mark": "begun"}, gate.step, *writes(0, "two")]})
    async with on_web(tmp_path, agent) as game:
        thread_id = await game.mention("open")
        await agent.seen("mark")
        await game.discord.archive(thread_id)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        await game.agents_gone()
        assert (tree_of(tmp_path, thread_id) / "notes.txt").read_text().startswith("two")
