"""Models, modes and other options from the command to the agent: over turns, refusals and restarts."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.agents.model import AgentProfile, Agents
from bot.chat import answers
from bot.chat.selects import EXPIRED
from bot.model import Outcome
from bot.sandbox import FakeDiscord, Interaction, Person
from bot.sandbox.interactions import InteractionType
from bot.work.options.service import NOT_KNOWN
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.agents.offers import boolean, many_models, modes, offers, select
from tests.e2e.busy import friends
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import connected, mention, run, until_answered
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

REFUSED = {"code": -32603, "message": "not with your plan"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an agent answers comes as the first answer, on a busy machine too."""
    monkeypatch.setattr(answers, "SOON", 20.0)


def sent(agent: ScriptedAgent) -> list[tuple[str, Any]]:
    """Return what the agent was told to choose, in order: the option, or what its method sets, and the value."""
    found: list[tuple[str, Any]] = []
    for entry in agent.events("received"):
        params, method = entry["message"].get("params", {}), str(entry["message"].get("method"))
        if method.startswith("session/set_"):
            option = params.get("configId") or method.removeprefix("session/set_")
            found.append((option, params.get("value", params.get("modeId", params.get("modelId")))))
    return found


def menu(asked: Interaction, game: Play) -> dict[str, Any]:
    """Return the menu of an answer that only one person sees."""
    assert asked.ephemeral
    rows = game.discord.message(asked.original_id or asked.message_id or 0).components
    found: dict[str, Any] = next(one for row in rows for one in row["components"] if one["type"] == 3)
    return found


def pressable(asked: Interaction, game: Play) -> dict[str, str]:
    rows = game.discord.message(asked.original_id or asked.message_id or 0).components
    return {
        one["label"]: one["custom_id"]
        for row in rows
        for one in row["components"]
        if one["type"] == 2 and not one["disabled"]
    }


def text(answer: Interaction) -> str:
    return str((answer.response or {})["content"])


def last_footer(game: Play, thread_id: int) -> str:
    lines = [line for line in game.shown(thread_id).splitlines() if re.match(r"-# \d+ s", line)]
    return lines[-1]


@pytest.mark.parametrize(
    ("name", "model", "mode", "told"),
    [
        ("codex", "gpt-07", "read-only", [("model", "gpt-07")]),
        ("gemini", "gemini-pro", "plan", [("model", "gemini-pro"), ("mode", "plan")]),
        *in_soak(
            [
                ("opencode", "local/other", "plan", [("model", "local/other"), ("mode", "plan")]),
                ("claude", "opus", "plan", [("model", "opus"), ("mode", "plan")]),
            ]
        ),
    ],
)
async def test_model_and_mode_are_chosen_at_once_in_the_way_of_each_agent(
    tmp_path: Path, name: str, model: str, mode: str, told: list[tuple[str, str]]
) -> None:
    """K1, K2, D7: seen by all in the thread, in the next footer and in /status."""
    agent = scenario(tmp_path, [{"text": "done"}], **offers(name))
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        chosen = await game.owner.slash(thread_id, "model", model=model)
        assert (text(chosen), chosen.ephemeral) == (f"Model: `{model.capitalize()}`, as of now.", False)
        in_mode = await game.owner.slash(thread_id, "mode", mode=mode.capitalize())
        assert text(in_mode) == f"Mode: `{mode.capitalize()}`, as of now."
        assert sent(agent) == told
        assert await game.outcome(await game.say(thread_id, "two")) is Outcome.ANSWERED
        usual = "" if name == "codex" else f" · `{mode.capitalize()}`"
        assert last_footer(game, thread_id).endswith(f"`{model.capitalize()}`{usual}")
        status = await game.owner.slash(thread_id, "status")
        assert f"Model: `{model.capitalize()}` · Mode: `{mode.capitalize()}`" in text(status)
        assert sent(agent) == told


async def test_what_is_chosen_while_a_turn_runs_holds_from_the_next_prompt_on_and_others_stay(tmp_path: Path) -> None:
    """K1: answered at once although the agent works; what it changes by itself is not brought back."""
    gate = Gate(tmp_path / "gate")
    options = [many_models(3), select("effort", "low", "high"), boolean("fast"), select("style", "a", "b")]
    turns: list[list[Step]] = [
        [{"text": "first"}],
        [{"text": "so far"}, gate.step],
        [{"set": {"effort": "low"}}, {"text": "third"}],
        [{"text": "fourth"}],
    ]
    async with play(tmp_path, agent := scenario(tmp_path, *turns, options=options)) as game:
        thread_id, _ = await game.ask("one")
        await game.say(thread_id, "two")
        await game.until_shown(thread_id, "so far")
        for command, value in (("effort", "high"), ("model", "model-02")):
            answer = await game.owner.slash(thread_id, command, **{command: value})
            assert text(answer).endswith(", from your next message on.")
        assert text(await game.owner.slash(thread_id, "options", option="fast", value="on")).startswith("`Fast`: `on`")
        assert sent(agent) == []
        gate.open()
        third = await game.say(thread_id, "three")
        assert await game.outcome(third) is Outcome.ANSWERED
        # The model first: what else is chosen may depend on it.
        assert sent(agent) == [("model", "model-02"), ("effort", "high"), ("fast", True)]
        assert await game.outcome(await game.say(thread_id, "four")) is Outcome.ANSWERED
        assert len(sent(agent)) == 3
        listed = await game.owner.slash(thread_id, "options")
        assert text(listed).splitlines() == ["Model: `Model-02`", "Effort: `Low`", "`Fast`: `on`", "`Style`: `A`"]


async def test_sixty_models_are_found_by_pages_and_by_search(tmp_path: Path) -> None:
    """K1, D7: 25 a page; a menu of before, and one for another thread, are answered."""
    agent = scenario(tmp_path, [{"text": "done"}], options=[many_models(60), select("mode", "ask", "plan", "yolo")])
    async with play(tmp_path, agent) as game:
        owner = game.owner
        thread_id, _ = await game.ask("one")
        other, _ = await game.ask("elsewhere")
        asked = await owner.slash(thread_id, "model")
        assert text(asked).splitlines()[0] == "Model is `Model-00`."
        shown = menu(asked, game)
        assert [len(shown["options"]), shown["options"][0]["label"]] == [25, "Model-00"]
        assert list(pressable(asked, game)) == ["Next"]
        message_id = asked.original_id or 0
        for _ in range(2):
            await owner.click(message_id, pressable(asked, game)["Next"])
        shown = menu(asked, game)
        assert [one["label"] for one in shown["options"]][::9] == ["Model-50", "Model-59"]
        assert list(pressable(asked, game)) == ["Earlier"]
        chosen = await owner.choose(message_id, shown["custom_id"], shown["options"][-1]["value"])
        assert text(chosen) == "Model: `Model-59`, as of now."
        await game.until_shown(thread_id, "-# Model: `Model-59`, as of now (`owner`)")
        assert sent(agent) == [("model", "model-59")]
        suggested = await owner.autocomplete(thread_id, "options", "value", "PL", option="mode")
        assert (suggested.response or {})["choices"] == [{"name": "Plan", "value": "plan"}]
        # By search, in names and in values; a menu opens where the current one is.
        found = await owner.autocomplete(thread_id, "model", "model", "-5")
        assert [one["name"] for one in (found.response or {})["choices"]][:2] == ["Model-50", "Model-51"]
        assert menu(await owner.slash(thread_id, "model"), game)["options"][-1]["default"]
        wrong = await owner.slash(thread_id, "model", model="model-60")
        assert (wrong.ephemeral, "no `model-60`" in text(wrong)) == (True, True)
        # The list of all leads to each, and what a person sends for another thread is nothing.
        listed = await owner.slash(thread_id, "options")
        all_of_them = menu(listed, game)
        custom_id, second = all_of_them["custom_id"], all_of_them["options"][1]["value"]
        here = game.discord.message(listed.original_id or 0)
        data = {"custom_id": custom_id, "component_type": 3, "values": [second]}
        forged = owner.forge(InteractionType.COMPONENT, other, data, here)
        await forged.settle()
        assert text(forged) == EXPIRED
        assert text(
            await owner.choose((await owner.slash(thread_id, "options")).original_id or 0, custom_id, second)
        ) == ("Mode is `Ask`.")


async def test_refusals_silence_and_what_is_not_offered_are_said_and_the_turn_goes_on(tmp_path: Path) -> None:
    """K2: at once, before a prompt, and of the settings' defaults; an agent that hangs keeps nobody waiting."""
    agent = scenario(
        tmp_path,
        [{"text": "done"}],
        options=[select("model", "a", "b", "c"), select("mode", "ask", "plan")],
        refuses={"model=b": REFUSED, "mode": {"code": -32601, "message": "no such method"}},
        gates={"session/set_config_option": str(tmp_path / "never")},
    )
    defaults = {"model": "B", "mode": "ask", "temper": "cool"}

    def agents(discord: FakeDiscord, workspace: str) -> Agents:
        profile = AgentProfile("one", agent.argv, workspace, options=defaults)
        return Agents({"one": profile}, "one", channel_options={discord.channel_id: {"mode": "plan"}})

    (tmp_path / "never").touch()
    async with play(tmp_path, agent, agents=agents) as game:
        game.on_stage.bot.dispatcher.options.giver.limit = 0.3
        thread_id = await game.mention("one")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert [line for line in game.shown(thread_id).splitlines() if "⚠️" in line] == [
            "-# ⚠️ The settings want `temper` = `cool`, which this agent does not offer.",
            "-# ⚠️ The agent refused `B`: `not with your plan`. Model stays `A`.",
            "-# ⚠️ The agent refused `Plan`: it can't change this in a conversation. Mode stays `Ask`.",
        ]
        refused = await game.owner.slash(thread_id, "model", model="b")
        assert text(refused) == "The agent refused `B`: `not with your plan`. Model stays `A`."
        (tmp_path / "never").unlink()
        silent = await game.owner.slash(thread_id, "model", model="c")
        assert silent.acked
        assert text(silent) == ("Model: `C`. The agent did not answer; I'll ask again before your next message.")
        (tmp_path / "never").touch()
        assert await game.outcome(await game.say(thread_id, "two")) is Outcome.ANSWERED
        # The usual mode is what the settings say, so it is told that the session is in another one.
        assert last_footer(game, thread_id).endswith("`C` · `Ask`")
        # Asked twice, and then no more: each time the next prompt would wait for it.
        (tmp_path / "never").unlink()
        assert "did not answer" in text(await game.owner.slash(thread_id, "model", model="a"))
        for number, told in enumerate((1, 1), 3):
            assert await game.outcome(await game.say(thread_id, str(number))) is Outcome.ANSWERED
            assert game.shown(thread_id).count("The agent again did not answer `A`, so I have stopped asking.") == told
        assert sent(agent).count(("model", "a")) == 2
        (tmp_path / "never").touch()


async def test_a_mode_that_may_ask_less_takes_an_approver_or_the_owner(tmp_path: Path) -> None:
    """K1, C1: in a command and in a menu; what new sessions begin with, plan modes and what is listed are for all."""
    agent = scenario(tmp_path, [{"text": "done"}], modes=modes("default", "acceptEdits", "yolo", "plan"))
    people: dict[str, Person] = {}

    def agents(_discord: FakeDiscord, workspace: str) -> Agents:
        profile = AgentProfile("one", agent.argv, workspace, modes=frozenset({"acceptEdits"}))
        return Agents({"one": profile}, "one")

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        judges = discord.add_role("judges")
        people["alice"], people["judy"] = discord.user("alice"), discord.user("judy", roles=[judges])
        return {"allowed_users": [one.id for one in people.values()], "approver_roles": [judges]}

    async with play(tmp_path, agent, agents=agents, invite=invite) as game:
        alice = people["alice"]
        thread_id = await game.mention("one", alice)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        refused = await alice.slash(thread_id, "mode", mode="yolo")
        assert (
            refused.ephemeral,
            text(refused).startswith("Only approvers and the owner of this bot can choose Mode `Yolo`"),
        ) == (
            True,
            True,
        )
        asked = await alice.slash(thread_id, "mode")
        shown = menu(asked, game)
        assert [one["label"] for one in shown["options"] if "approvers only" in one.get("description", "")] == ["Yolo"]
        yolo = next(one["value"] for one in shown["options"] if one["label"] == "Yolo")
        assert text(await alice.choose(asked.original_id or 0, shown["custom_id"], yolo)) == text(refused)
        for mode in ("plan", "acceptEdits", "default"):
            assert text(await alice.slash(thread_id, "mode", mode=mode)).endswith("as of now.")
        assert text(await people["judy"].slash(thread_id, "mode", mode="yolo")).endswith("as of now.")
        # Who let the agent ask less is for everybody to see; what all may choose is no decision.
        decided = await (await alice.slash(thread_id, "audit")).told()
        assert [line.partition("> ")[2] for line in decided.splitlines()[:-1]] == ["`Mode: Yolo`: allowed by `judy`"]
        assert [value for _, value in sent(agent)] == ["plan", "acceptEdits", "default", "yolo"]


async def test_choices_hold_over_a_restart_and_the_picker_works_without_an_agent(tmp_path: Path) -> None:
    """K1, R2: known again from the state file, also where no session was; given again before the next prompt."""
    options = [many_models(30), select("effort", "low", "high")]
    agent = scenario(tmp_path, options=options, resume=True, store=str(tmp_path / "sessions"))
    async with connected(tmp_path, agent) as (discord, bot):
        owner, thread_id = discord.owner, await mention(discord, "one")
        await until_answered(discord, thread_id, "one")
        chosen = await owner.slash(thread_id, "model", model="model-07")
        # The first answer, or the one that takes its place.
        await discord.wait_for(lambda _: text(chosen) == "Model: `Model-07`, as of now.", timeout=LIMIT)
        before = await owner.slash(thread_id, "effort")
        shown = discord.message(before.original_id or 0).components[0]["components"][0]
        elsewhere = await discord.start_thread(owner, await owner.say(discord.channel_id, "topic"), "topic")
        assert await bot.signalled(signal.SIGTERM) == 0
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("gateway.ready")
            asked = await owner.slash(thread_id, "options")
            assert text(asked).splitlines() == ["Model: `Model-07`", "Effort: `Low`"]
            assert text(await owner.slash(elsewhere.id, "options")).splitlines()[0] == "Model: `Model-00`"
            # In a menu of the run before.
            high = await owner.choose(before.original_id or 0, shown["custom_id"], shown["options"][1]["value"])
            assert text(high) == "Effort: `High`, from your next message on."
            assert len(agent.pids()) == 1
            await owner.say(thread_id, "two")
            await until_answered(discord, thread_id, "two")
            assert await again.signalled(signal.SIGTERM) == 0
    assert sent(agent) == [("model", "model-07"), ("model", "model-07"), ("effort", "high")]
    assert len(agent.received("session/resume")) == 1


async def test_copies_have_what_was_chosen_and_so_have_direct_messages(tmp_path: Path) -> None:
    """K1, Q9, S2, S7: for a turn beside another one, and for a thread; before the first session nothing is known."""
    gate = Gate(tmp_path / "gate")
    words: Mapping[str, list[Step]] = {"slow": [{"text": "so far"}, gate.step]}
    able = {"fork": True, "resume": True, "close": True, "store": str(tmp_path / "sessions")}
    agent = scenario(tmp_path, [{"text": "done"}], words=words, options=[many_models(3)], **able)
    async with play(tmp_path, agent, max_concurrent=2, direct_messages=True) as game:
        topic = await game.discord.start_thread(game.owner, await game.owner.say(game.discord.channel_id, "x"), "x")
        assert text(await game.owner.slash(topic.id, "model")) == NOT_KNOWN.text
        thread_id = await game.mention("slow")
        await game.until_shown(thread_id, "so far")
        assert text(await game.owner.slash(thread_id, "model", model="model-01")).endswith("your next message on.")
        assert await game.outcome(await game.say(thread_id, "beside")) is Outcome.ANSWERED
        assert sent(agent) == [("model", "model-01")]
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        told = await (await game.owner.slash(thread_id, "fork", prompt="go on")).told()
        copied = int(told.partition("<#")[2].partition(">")[0])
        assert await game.outcome(copied) is Outcome.ANSWERED
        assert sent(agent) == [("model", "model-01")] * 2
        assert last_footer(game, copied).endswith("`Model-01`")
        mine = game.discord.open_dm(game.owner)
        assert await game.outcome(await game.say(mine, "hello")) is Outcome.ANSWERED
        assert text(await game.owner.slash(mine, "model", model="model-02")) == "Model: `Model-02`, as of now."
        outside = await game.owner.slash(game.discord.channel_id, "model")
        assert "inside a Weft thread" in text(outside)


async def test_a_copy_of_a_thread_has_no_mode_that_whoever_copies_may_not_choose(tmp_path: Path) -> None:
    """K1, S2: it would outlive the task for which somebody else chose it, although the agent copies it, too."""
    able = {"fork": True, "resume": True, "close": True, "store": str(tmp_path / "sessions")}
    modes = [select("model", "a", "b"), select("mode", "ask", "plan", "yolo")]
    agent = scenario(tmp_path, [{"text": "done"}], options=modes, **able)
    async with play(tmp_path, agent, **friends("bob")) as game:
        thread_id, _ = await game.ask("one")
        for name, value in (("model", "b"), ("mode", "yolo")):
            assert text(await game.owner.slash(thread_id, name, **{name: value})).endswith("as of now.")
        for person, mode in ((game.discord.user("bob"), "Ask"), (game.owner, "Yolo")):
            told = await (await person.slash(thread_id, "fork", prompt="go on")).told()
            copied = int(told.partition("<#")[2].partition(">")[0])
            assert await game.outcome(copied) is Outcome.ANSWERED
            assert f"Model: `B` · Mode: `{mode}`" in text(await game.owner.slash(copied, "status"))


async def test_a_session_of_a_list_begins_in_a_mode_that_whoever_opens_it_may_choose(tmp_path: Path) -> None:
    """K1, S1: the agent keeps it in the mode that somebody else chose."""
    modes = [select("model", "a", "b"), select("mode", "ask", "plan", "yolo")]
    able = {"resume": True, "list": 3, "store": str(tmp_path / "sessions")}
    agent = scenario(tmp_path, [{"text": "done"}], options=modes, **able)
    async with play(tmp_path, agent, sessions_per_process=5, **friends("bob")) as game:
        bob, owner, channel = game.discord.user("bob"), game.owner, game.discord.channel_id
        await game.ask("keeps the process")
        for person, mode in ((bob, "Ask"), (owner, "Yolo")):
            thread_id, _ = await game.ask("one")
            assert text(await owner.slash(thread_id, "mode", mode="yolo")).endswith("as of now.")
            await owner.slash(thread_id, "reset")
            await (listed := await person.slash(channel, "sessions")).filled()
            rows = (listed.response or {}).get("components") or []
            custom_id = next(one["custom_id"] for row in rows for one in row["components"] if "here" in one["label"])
            told = await (await person.click(listed.original_id or 0, custom_id)).told()
            opened = int(told.partition("<#")[2].partition(">")[0])
            assert await game.outcome(await game.say(opened, "go on")) is Outcome.ANSWERED
            assert f"Mode: `{mode}`" in text(await owner.slash(opened, "status"))
