"""The demo agent as a client sees it, over plain pipes, and the pure parts of what it shows."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import ANY

import pytest

import bot.demo
from bot.demo.agent import described, folder_named, pace, prompt_text
from bot.demo.agent_scenes import EDITED_NAME, FILE_NAME, SCENES, Brought, Pause, Request, Say, scene_for
from bot.demo.agent_sessions import PRICES_OF_A_TURN, Sessions, default_directory
from bot.demo.agent_texts import BREAD, HOSTILE, LONG_LINE
from bot.demo.agent_turn import CHUNK_PAUSE, chosen_option, pieces
from tests.agents.client import Message, PipeClient, talking_to

ARGV = (sys.executable, "-P", "-m", "bot.demo.agent")
END_TURN, CANCELLED = {"stopReason": "end_turn"}, {"stopReason": "cancelled"}
NEVER = "1e6"  # a pace at which no pause ends


@contextmanager
def demo(cwd: Path, pace: str = "0") -> Iterator[PipeClient]:
    env = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(cwd.parent / "state"), "WEFT_DEMO_PACE": pace}
    # The code that is tested, wherever it is: an installed one may be another.
    env |= {"PYTHONPATH": str(Path(bot.demo.__file__).parents[2])}
    with talking_to(ARGV, cwd, env=env) as client:
        yield client


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "first.txt").write_text("1")
    (path / "folder").mkdir()
    return path


def play(client: PipeClient, session: str, text: str, option: str = "allow_once") -> Message:
    """Play a turn, choosing this option whenever asked; return the response."""
    number = client.prompt(session, text)
    while (message := client.read()).get("id") != number:
        if message.get("method") == "session/request_permission":
            client.choose(message, option)
    return message


def permissions(client: PipeClient) -> list[Message]:
    return [message for message in client.seen if message.get("method") == "session/request_permission"]


def test_by_default_it_shows_everything_an_agent_can_show(cwd: Path) -> None:
    with demo(cwd) as client:
        response = play(client, client.open(cwd), "please tidy up")
    kinds = {update["sessionUpdate"] for update in client.updates()}
    assert kinds == {
        "agent_message_chunk",
        "agent_thought_chunk",
        "plan",
        "tool_call",
        "tool_call_update",
        "session_info_update",
        "usage_update",
        "available_commands_update",
    }
    assert response["result"] == END_TURN
    assert "please tidy up" in client.text()


def test_the_plan_progresses_until_all_of_it_is_done(cwd: Path) -> None:
    with demo(cwd) as client:
        play(client, client.open(cwd), "plan")
    plans = [[entry["status"] for entry in update["entries"]] for update in client.updates("plan")]
    assert plans[0] == ["in_progress", "pending", "pending"]
    assert plans[-1] == ["completed"] * 3


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            [
                {"action": "accept", "content": {"colour": "red"}},
                {"action": "accept", "content": {"name": "Go", "rounded": True, "pages": ["a", "b"]}},
            ],
            "`yes`\n- Pages: `a, b`",
        ),
        ([{"action": "accept", "content": {"other": "pink"}}, {"action": "decline"}], "**pink** it is"),
        ([{"action": "cancel"}], "I leave the button as it is"),
    ],
)
def test_it_asks_a_choice_and_then_a_form(cwd: Path, answers: list[Message], said: str) -> None:
    """C6."""
    with demo(cwd) as client:
        number = client.prompt(client.open(cwd), "question")
        for answer in answers:
            client.respond(client.asked("elicitation/create"), answer)
        assert client.answer_to(number)["result"] == END_TURN
    assert said in client.text()


@pytest.mark.parametrize(("option", "said"), [("allow_once", "I would begin now"), ("reject_once", "I keep planning")])
def test_it_asks_to_carry_out_a_plan(cwd: Path, option: str, said: str) -> None:
    """C7."""
    with demo(cwd) as client:
        play(client, client.open(cwd), "propose", option)
    call = permissions(client)[0]["params"]["toolCall"]
    assert (call["kind"], call["rawInput"]["plan"]) == ("switch_mode", call["content"][0]["content"]["text"])
    assert said in client.text()


@pytest.mark.parametrize(
    ("prompt", "option", "command", "said"),
    [
        ("run", "allow_once", "rm -rf build && git push --force origin main", "I would run it now"),
        ("run touch trace", "allow_once", "touch trace", "I would run it now"),
        ("run touch trace", "reject_once", "touch trace", "Then I leave it"),
    ],
)
def test_it_asks_to_run_and_runs_nothing(cwd: Path, prompt: str, option: str, command: str, said: str) -> None:
    before = sorted(cwd.iterdir())
    with demo(cwd) as client:
        play(client, client.open(cwd), prompt, option)
    call = permissions(client)[0]["params"]["toolCall"]
    assert (call["kind"], call["rawInput"]) == ("execute", {"command": command, "cwd": str(cwd)})
    assert said in client.text()
    assert sorted(cwd.iterdir()) == before


def test_the_tool_lists_the_working_directory(cwd: Path) -> None:
    with demo(cwd) as client:
        play(client, client.open(cwd), "tools")
    assert client.text() == ""
    assert client.updates("tool_call")[0]["kind"] == "read"
    done = client.updates("tool_call_update")[-1]
    assert (done["status"], done["content"][0]["content"]["text"]) == ("completed", "first.txt\nfolder/")


@pytest.mark.parametrize("option", ["allow_once", "allow_always"])
def test_the_file_is_written_once_it_is_allowed(cwd: Path, option: str) -> None:
    with demo(cwd) as client:
        session = client.open(cwd)
        number = client.prompt(session, "write this down")
        request = client.asked("session/request_permission")
        assert not (cwd / FILE_NAME).exists()
        client.choose(request, option)
        client.answer_to(number)
    diff = request["params"]["toolCall"]["content"][0]
    assert (diff["type"], diff["oldText"], diff["newText"]) == ("diff", None, "write this down\n")
    assert [option["kind"] for option in request["params"]["options"]] == ["allow_once", "allow_always", "reject_once"]
    assert (cwd / FILE_NAME).read_text() == "write this down\n"


@pytest.mark.parametrize(
    ("before", "prompt", "after"),
    [
        ('GREETING = "Hello"\nrest\n', 'edit Good \\1 "day"', 'GREETING = "Good \\\\1 \\"day\\""\nrest\n'),
        ('GREETING = "Hello"\n', "edit", 'GREETING = "Good morning"\n'),
        (None, "edit Hé", 'GREETING = "Hé"\n'),
        ("nothing to greet\n", "edit x", "nothing to greet\n"),
    ],
)
def test_the_greeting_of_the_project_is_changed_once_that_is_allowed(
    cwd: Path, before: str | None, prompt: str, after: str
) -> None:
    """W4: something to look at, to commit and to merge."""
    if before is not None:
        (cwd / EDITED_NAME).write_text(before)
    with demo(cwd) as client:
        play(client, client.open(cwd), prompt)
        assert f"I wrote `{EDITED_NAME}`." in client.text()
        assert len(permissions(client)) == 1
    assert (cwd / EDITED_NAME).read_text() == after


@pytest.mark.parametrize("option", ["reject_once", "unknown"])
def test_nothing_is_written_without_leave(cwd: Path, option: str) -> None:
    with demo(cwd) as client:
        response = play(client, client.open(cwd), "write this down", option)
    assert not (cwd / FILE_NAME).exists()
    assert client.updates("tool_call_update")[-1]["status"] == "failed"
    assert response["result"] == END_TURN
    assert "did not write" in client.text()


def test_a_permission_answered_cancelled_without_a_cancel_counts_as_no(cwd: Path) -> None:
    with demo(cwd) as client:
        number = client.prompt(client.open(cwd), "write")
        client.choose(client.asked("session/request_permission"), None)
        assert client.answer_to(number)["result"] == END_TURN
    assert not (cwd / FILE_NAME).exists()


def test_always_allow_is_asked_once_a_session(cwd: Path) -> None:
    with demo(cwd) as client:
        session = client.open(cwd)
        for _ in range(2):
            play(client, session, "write it", "allow_always")
        assert len(permissions(client)) == 1
        assert (cwd / FILE_NAME).read_text() == "write it\n" * 2
        play(client, client.open(cwd), "write it")
        assert len(permissions(client)) == 2


def test_say_repeats_the_words_without_asking(cwd: Path) -> None:
    with demo(cwd) as client:
        play(client, client.open(cwd), "say hello weft ✓")
    assert client.text() == "hello weft ✓"
    assert permissions(client) == []


def test_help_names_every_keyword(cwd: Path) -> None:
    with demo(cwd) as client:
        play(client, client.open(cwd), "help")
    assert [keyword for keyword in SCENES if f"`{keyword}`" not in client.text()] == []


def test_a_story_comes_step_by_step_and_spending_costs_what_is_said(cwd: Path) -> None:
    """A4."""
    with demo(cwd) as client:
        session = client.open(cwd)
        play(client, session, "story")
        pieces = len(client.updates("agent_message_chunk"))
        play(client, session, "spend 0.25")
    assert pieces > 100
    assert all(step in client.text() for step in BREAD)
    costs = [update["cost"]["amount"] for update in client.updates("usage_update")]
    assert costs == [0.0042, 0.2584]


def test_a_hostile_answer_arrives_as_it_is(cwd: Path) -> None:
    """T8: what is made of it is for others to test; here nothing of it may be tamed."""
    with demo(cwd) as client:
        play(client, client.open(cwd), "hostile")
    text = client.text()
    assert all(part in text for part in (*HOSTILE, "x" * LONG_LINE))
    assert "<script>" in text
    assert client.updates("session_info_update")[-1]["title"].startswith("<img")


def test_a_long_answer_needs_several_messages_of_discord(cwd: Path) -> None:
    with demo(cwd) as client:
        play(client, client.open(cwd), "long")
    assert len(client.text()) > 3 * 2000


def test_each_message_and_each_tool_call_has_an_id_of_its_own(cwd: Path) -> None:
    """T8"""
    with demo(cwd) as client:
        session = client.open(cwd)
        for _ in range(2):
            play(client, session, "show me")
    said = client.updates("agent_message_chunk")
    assert len({update["messageId"] for update in said}) == 4
    assert len({update["toolCallId"] for update in client.updates("tool_call")}) == 4


def test_the_title_comes_once_and_the_cost_adds_up(cwd: Path) -> None:
    with demo(cwd) as client:
        session = client.open(cwd)
        for text in ("say one\n\n[files]", "say two"):
            play(client, session, text)
    costs = [update["cost"]["amount"] for update in client.updates("usage_update")]
    assert [update["title"] for update in client.updates("session_info_update")] == ["say one"]
    assert costs == [costs[0], 2 * costs[0]]


def test_a_failing_turn_is_an_error_after_what_was_said(cwd: Path) -> None:
    with demo(cwd) as client:
        session = client.open(cwd)
        assert play(client, session, "fail")["error"]["code"] == -32603
        assert client.text() == "This will not end "
        assert play(client, session, "say on")["result"] == END_TURN


def test_a_working_directory_that_is_gone_fails_the_turn_only(cwd: Path) -> None:
    with demo(cwd) as client:
        gone = cwd / "gone"
        gone.mkdir()
        session = client.open(gone)
        gone.rmdir()
        assert play(client, session, "tools")["error"]["code"] == -32603
        assert client.updates("tool_call_update")[-1]["status"] == "failed"
        assert play(client, session, "plan")["result"] == END_TURN


def test_a_crash_ends_the_process_and_leaves_the_session_to_the_next(cwd: Path) -> None:
    """T1, P8"""
    with demo(cwd) as client:
        session = client.open(cwd)
        client.prompt(session, "crash")
        assert client.process.wait() == 3
    with demo(cwd) as client:
        client.call("session/load", sessionId=session, cwd=str(cwd), mcpServers=[])
        assert client.updates("user_message_chunk")[0]["content"]["text"] == "crash"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("say hello", "agent_thought_chunk"), ("tools", "tool_call"), ("plan", "plan"), ("wait", "agent_message_chunk")],
)
def test_a_cancel_ends_the_turn_wherever_it_is(cwd: Path, text: str, kind: str) -> None:
    """T6"""
    with demo(cwd, pace=NEVER) as client:
        session = client.open(cwd)
        number = client.prompt(session, text)
        client.updated(kind)
        client.notify("session/cancel", sessionId=session)
        assert client.answer_to(number)["result"] == CANCELLED
        unfinished = {update["toolCallId"] for update in client.updates("tool_call")}
        failed = {u["toolCallId"] for u in client.updates("tool_call_update") if u["status"] == "failed"}
        assert failed == unfinished


def test_a_cancel_waits_for_the_answer_to_an_open_permission(cwd: Path) -> None:
    """T6"""
    with demo(cwd) as client:
        session = client.open(cwd)
        number = client.prompt(session, "write")
        request = client.asked("session/request_permission")
        client.notify("session/cancel", sessionId=session)
        client.call("session/resume", sessionId=session, cwd=str(cwd))  # answered after the cancel was read
        assert number not in [message.get("id") for message in client.seen]
        client.choose(request, None)
        assert client.answer_to(number)["result"] == CANCELLED
        assert client.updates("tool_call_update")[-1]["status"] == "failed"


def test_a_cancelled_session_takes_the_next_prompt_at_once(cwd: Path) -> None:
    """T6"""
    with demo(cwd, pace=NEVER) as client:
        session = client.open(cwd)
        for _ in range(20):
            number = client.prompt(session, "plan")
            client.updated("plan")
            client.notify("session/cancel", sessionId=session)
            assert client.answer_to(number)["result"] == CANCELLED


def test_a_cancelled_request_is_a_cancelled_turn(cwd: Path) -> None:
    with demo(cwd, pace=NEVER) as client:
        number = client.prompt(client.open(cwd), "plan")
        client.updated("plan")
        client.notify("$/cancel_request", requestId=number)
        assert client.answer_to(number)["result"] == CANCELLED


def test_a_cancel_without_a_turn_changes_nothing(cwd: Path) -> None:
    with demo(cwd) as client:
        session = client.open(cwd)
        client.notify("session/cancel", sessionId=session)
        client.notify("_vendor/whatever")
        assert play(client, session, "say on")["result"] == END_TURN


def test_sessions_run_side_by_side_and_are_cancelled_one_by_one(cwd: Path) -> None:
    with demo(cwd, pace=NEVER) as client:
        first, second = client.open(cwd), client.open(cwd)
        one, two = client.prompt(first, "plan"), client.prompt(second, "plan")
        client.updated("plan")
        client.updated("plan")
        client.notify("session/cancel", sessionId=second)
        assert client.answer_to(two)["result"] == CANCELLED
        client.notify("session/cancel", sessionId=first)
        assert client.answer_to(one)["result"] == CANCELLED


def test_a_second_prompt_in_a_running_turn_is_refused(cwd: Path) -> None:
    with demo(cwd, pace=NEVER) as client:
        session = client.open(cwd)
        client.prompt(session, "plan")
        assert client.answer_to(client.prompt(session, "plan"))["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("method", "replayed"), [("session/load", ["say remembered", "remembered"]), ("session/resume", [])]
)
def test_load_replays_what_an_earlier_process_said_and_resume_does_not(
    cwd: Path, method: str, replayed: list[str]
) -> None:
    """P8"""
    with demo(cwd) as client:
        session = client.open(cwd)
        play(client, session, "say remembered")
    with demo(cwd) as client:
        assert list(client.call(method, sessionId=session, cwd=str(cwd), mcpServers=[])["result"]) == ["configOptions"]
        assert [update["content"]["text"] for update in client.updates()] == replayed
        assert play(client, session, "say on")["result"] == END_TURN


def test_allowed_always_ends_with_the_process(cwd: Path) -> None:
    with demo(cwd) as client:
        session = client.open(cwd)
        play(client, session, "write", "allow_always")
    with demo(cwd) as client:
        client.call("session/resume", sessionId=session, cwd=str(cwd))
        play(client, session, "write")
        assert len(permissions(client)) == 1


@pytest.mark.parametrize("session", ["0" * 32, "../../etc/passwd", ""])
@pytest.mark.parametrize("method", ["session/load", "session/resume", "session/prompt"])
def test_an_unknown_session_is_not_found(cwd: Path, method: str, session: str) -> None:
    """P8"""
    with demo(cwd) as client:
        assert client.call(method, sessionId=session, cwd=str(cwd), prompt=[])["error"]["code"] == -32002


def test_it_answers_what_it_does_not_know_and_survives_noise(cwd: Path) -> None:
    with demo(cwd) as client:
        assert client.call("session/unknown", sessionId="x")["error"]["code"] == -32601
        for line, code in ((b"garbage", -32700), (b"\xff\xfe", -32700), (b"[" * 100_000, -32700), (b"[1]", -32600)):
            client.stdin.write(line + b"\n")
            client.stdin.flush()
            assert client.read()["error"]["code"] == code
        client.send(id=7, result={})  # an answer to nothing
        client.send(id=True, result={})
        assert client.call("session/new", cwd="relative", mcpServers=[])["error"]["code"] == -32602
        assert play(client, client.open(cwd), "say on")["result"] == END_TURN


def test_it_has_a_mode_a_model_and_an_effort_to_choose(cwd: Path) -> None:
    """K1: kept for a later process; in the mode ``auto`` it writes without asking, the large model costs more."""
    with demo(cwd) as client:
        session = client.open(cwd)
        for option, value in (("mode", "auto"), ("model", "demo-large")):
            result = client.call("session/set_config_option", sessionId=session, configId=option, value=value)["result"]
        for option, other in (("mode", "never"), ("colour", "red"), ("model", True)):
            refused = client.call("session/set_config_option", sessionId=session, configId=option, value=other)
            assert refused["error"]["code"] == -32602
        play(client, session, "write it")
        assert permissions(client) == []
        assert client.updates("usage_update")[0]["cost"]["amount"] == PRICES_OF_A_TURN["demo-large"]
    with demo(cwd) as client:
        again = client.call("session/resume", sessionId=session, cwd=str(cwd))["result"]
    assert again == result
    assert [(one["id"], one["currentValue"]) for one in again["configOptions"]] == [
        ("mode", "auto"),
        ("model", "demo-large"),
        ("effort", "low"),
    ]


def test_its_keywords_are_commands(cwd: Path) -> None:
    """K3"""
    with demo(cwd) as client:
        session = client.open(cwd)
        told = client.updated("available_commands_update")["availableCommands"]
        play(client, session, "/say hello")
    assert [command["name"] for command in told] == list(SCENES)
    assert {"name": "say", "description": ANY, "input": {"hint": "what to say"}} in told
    assert client.text() == "hello"


def test_sessions_are_listed_by_all_processes_and_copied(cwd: Path) -> None:
    """S1, S2"""
    with demo(cwd) as client:
        first = client.open(cwd)
        play(client, first, "say first")
    with demo(cwd) as client:
        copied = client.call("session/fork", sessionId=first, cwd=str(cwd), mcpServers=[])["result"]["sessionId"]
        play(client, copied, "say more")
        sessions = client.call("session/list", cwd=str(cwd))["result"]["sessions"]
        assert client.call("session/list", cwd="/nowhere")["result"]["sessions"] == []
        client.call("session/load", sessionId=copied, cwd=str(cwd), mcpServers=[])
    assert [(info["sessionId"], info["title"]) for info in sessions] == [(copied, "say first"), (first, "say first")]
    assert all(info["updatedAt"].endswith("+00:00") for info in sessions)
    assert [update["content"]["text"] for update in client.updates("user_message_chunk")] == ["say first", "say more"]


def test_it_speaks_version_one_and_offers_load_and_resume(cwd: Path) -> None:
    with demo(cwd) as client:
        result = client.call("initialize", protocolVersion=99)["result"]
    capabilities = result["agentCapabilities"]
    assert (result["protocolVersion"], capabilities["loadSession"]) == (1, True)
    assert "resume" in capabilities["sessionCapabilities"]


@pytest.mark.parametrize("text", ["", "plan", "write"])
def test_the_end_of_stdin_ends_it_also_in_a_turn(cwd: Path, text: str) -> None:
    """P9"""
    with demo(cwd, pace=NEVER if text == "plan" else "0") as client:
        session = client.open(cwd)
        if text:
            client.prompt(session, text)
            client.updated("plan" if text == "plan" else "tool_call")
        assert client.close() == 0


def test_it_needs_the_standard_library_only() -> None:
    """So that it starts fast, and runs wherever Python does."""
    (folder,) = bot.demo.__path__
    for path in Path(folder).glob("agent*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        foreign = {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names}
        assert {name for name in foreign if not name.startswith("bot.demo.agent_")} == set()


@pytest.mark.parametrize("text", ["", " ", "one", "one two  three\n\nfour ", "\n lead", "🎉 " * 500])
@pytest.mark.parametrize("limit", [1, 3, 200])
def test_the_pieces_of_a_text_are_the_text(text: str, limit: int) -> None:
    parts = list(pieces(text, limit))
    assert "".join(parts) == text
    assert len(parts) <= limit


def test_say_takes_less_than_three_seconds_however_much_there_is_to_say(tmp_path: Path) -> None:
    steps = list(scene_for(Request("say " + "word " * 1000, tmp_path, "t")))
    said = sum(len(list(pieces(step.text, step.chunks))) for step in steps if isinstance(step, Say))
    assert said * CHUNK_PAUSE + sum(step.seconds for step in steps if isinstance(step, Pause)) < 3 - 0.5


@pytest.mark.parametrize("text", ["say hi", "SAY: hi", "  say hi", "ada: say hi", "no keyword here\nbob: say hi"])
def test_a_keyword_begins_a_line_perhaps_after_a_name(tmp_path: Path, text: str) -> None:
    steps = list(scene_for(Request(text, tmp_path, "t")))
    assert [step.text for step in steps if isinstance(step, Say)] == ["hi"]


def test_a_prompt_is_its_texts_and_the_names_of_the_rest() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "resource_link", "name": "b.txt"}, {"type": "image"}, "noise"]
    assert prompt_text(blocks) == "a\nb.txt\n(image)"
    assert prompt_text(None) == ""


@pytest.mark.parametrize(("value", "factor"), [("0", 0), ("0.5", 0.5), ("-1", 1), ("nan", 1), ("inf", 1), ("x", 1)])
def test_the_pace_is_a_factor_or_one(value: str, factor: float) -> None:
    assert pace(value) == factor


@pytest.mark.parametrize("response", [{}, {"error": {}}, {"result": None}, {"result": {"outcome": "cancelled"}}])
def test_an_odd_answer_to_a_permission_request_chooses_nothing(response: Message) -> None:
    assert chosen_option(response) == ""


def test_sessions_are_kept_where_nobody_else_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    directory = default_directory()
    assert directory is not None
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    directory = default_directory()
    assert directory is not None
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    assert default_directory() is None


def test_without_a_directory_sessions_live_in_memory() -> None:
    sessions = Sessions(None)
    session = sessions.create("/")
    sessions.save(session)
    assert sessions.reopen(session.id, "/tmp") is session
    assert Sessions(None).reopen(session.id, "/") is None


def test_a_damaged_session_file_is_an_unknown_session(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    session = sessions.create("/")
    (tmp_path / f"{session.id}.json").write_text('{"id": ')
    assert Sessions(tmp_path).reopen(session.id, "/") is None


FROM_WEFT = "[From Weft: put it into .weft/out/42/ in your working directory.]"


def test_a_picture_goes_into_the_folder_that_the_session_was_told(cwd: Path) -> None:
    told = [{"type": "text", "text": "say hello"}, {"type": "text", "text": FROM_WEFT}]
    with demo(cwd) as client:
        session = client.open(cwd)
        client.call("session/prompt", sessionId=session, prompt=told)
        play(client, session, "draw a picture")
        assert client.text() == "helloI drew this for you."
    assert (cwd / ".weft/out/42/picture.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_it_says_which_files_it_got() -> None:
    blocks = [
        {"type": "text", "text": "files"},
        {
            "type": "resource_link",
            "uri": "file:///work/a.zip",
            "name": "a.zip",
            "mimeType": "application/zip",
            "size": 9,
        },
        {"type": "resource", "resource": {"uri": "file:///work/b.txt", "text": "b", "mimeType": "text/plain"}},
        {"type": "text", "text": FROM_WEFT},
        "nonsense",
    ]
    files = tuple(described(blocks))
    assert files == ("`a.zip` (resource_link, application/zip, 9 bytes)", "`b.txt` (resource, text/plain)")
    (said,) = scene_for(Request("files", Path(), "t", brought=Brought(files)))
    assert isinstance(said, Say)
    assert said.text.splitlines() == ["I got these files:", *(f"- {line}" for line in files)]
    assert folder_named(blocks) == ".weft/out/42"
    assert "From Weft" not in prompt_text(blocks)
