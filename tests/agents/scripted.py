"""An agent that plays a scenario: speaks ACP v1 on stdio, says what it is told to, and logs what it hears.

Pure standard library in three files, so that it starts fast (by `player.py`) and runs in any working directory: `turns`
plays turns, `offered` has what is offered around them. The scenario is a path or inline JSON, in ``argv[1]`` or
``AGENT_SCENARIO``; `scenario.py` names its keys and steps. The main thread reads stdin; each prompt is played by a
worker thread of its own. The mutable state is the turns and what `Wire` and `Sessions` hold.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A thousand of these are started in the tests, and these modules take longer than all that most of them do.
    from typing import Any

    from tests.agents.offered import (
        AUTH_REQUIRED,
        HISTORY,
        METHOD_NOT_FOUND,
        Login,
        RequestError,
        Session,
        Sessions,
        title_of,
    )
    from tests.agents.turns import BEHAVIOURS, POLL, Journal, Turn, Wire

    JSON = dict[str, Any]
else:
    # By their place beside this file: the agent runs without the packages of the tests.
    from offered import AUTH_REQUIRED, HISTORY, METHOD_NOT_FOUND, Login, RequestError, Sessions, title_of
    from turns import BEHAVIOURS, POLL, Journal, Turn, Wire
FROM_WEFT = "[From Weft"
OUT = re.compile(r"\.weft/out/\d+")
EXIT_BAD_SCENARIO = 70
LATE_TITLE = 0.02  # seconds after a response; 3 to 44 ms were measured


def prompt_text(blocks: list[JSON]) -> str:
    """Return what people say in a prompt: without what Weft tells agents of itself."""
    return "".join(text for block in blocks if not (text := block.get("text", "")).startswith(FROM_WEFT))


class Agent:
    """Answers the client's requests as the scenario says."""

    def __init__(self, scenario: JSON) -> None:
        self.scenario = scenario
        self.start: JSON = scenario.get("start", {})
        self.behaviour = BEHAVIOURS[scenario.get("behaviour", "plain")]
        self.journal = Journal(scenario.get("log"))
        self.wire = Wire(self.journal)
        self.turns: list[Turn] = []
        self.sessions = Sessions(scenario)
        self.login = Login(scenario.get("auth"))
        self.out: dict[str, str] = {}
        self.played = 0

    def begin(self) -> None:
        """Do what the scenario wants done first, in the processes that ``after`` and ``first`` name."""
        if not self.start.get("after", 0) <= self.journal.count("start") < self.start.get("first", sys.maxsize):
            self.start = {}
        environment = {"names": sorted(os.environ), "marker": os.environ.get("WEFT_AGENT")}
        self.journal.write("start", cwd=os.getcwd(), ppid=os.getppid(), environment=environment)
        if self.start.get("ignore_term"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stderr.write(self.start.get("stderr", ""))
        sys.stderr.flush()
        for line in self.start.get("noise", []):
            self.wire.write(line.encode() + b"\n")
        self.wire.write((b"noise" * 199 + b"fill\n") * (self.start.get("noise_bytes", 0) // 1000))
        if "exit" in self.start:
            os._exit(self.start["exit"])

    def serve(self) -> None:
        for line in sys.stdin.buffer:
            self.receive(json.loads(line))
            self.wire.hearing.wait()
        self.journal.write("eof")
        while self.start.get("ignore_eof"):
            signal.pause()
        os._exit(0)

    def receive(self, message: JSON) -> None:
        self.journal.write("received", message=message)
        method, params = message.get("method"), message.get("params", {})
        if method is None:
            self.wire.resolve(message)
        elif method == "session/cancel":
            self.cancel(params["sessionId"])
        elif method == "session/prompt":
            self.prompt(message["id"], params)
        elif "id" in message and self.start.get("hang") != method:
            self.answer(message["id"], method, params)

    def answer(self, number: Any, method: str, params: JSON) -> None:
        if gate := self.scenario.get("gates", {}).get(method):
            threading.Thread(target=self.answer_behind, args=(gate, number, method, params), daemon=True).start()
        else:
            self.answer_now(number, method, params)

    def answer_behind(self, gate: str, number: Any, method: str, params: JSON) -> None:
        """Answer once that file is there; other requests are answered meanwhile."""
        while not os.path.exists(gate):
            time.sleep(POLL)
        self.answer_now(number, method, params)

    def answer_now(self, number: Any, method: str, params: JSON) -> None:
        name = "on_" + method.replace("/", "_")
        try:
            answers = {**self.scenario.get("answers", {}), **self.start.get("answers", {})}
            if method in answers:
                self.wire.send(id=number, **answers[method])
            elif hasattr(self, name):
                getattr(self, name)(number, params)
            else:
                raise RequestError(METHOD_NOT_FOUND)
        except RequestError as exc:
            self.wire.send(id=number, error=exc.error)

    def cancel(self, session: str) -> None:
        with self.wire.changed:
            for turn in self.turns:
                turn.cancelled = turn.cancelled or turn.session == session
            self.wire.changed.notify_all()

    def prompt(self, number: Any, params: JSON) -> None:
        session, text = params["sessionId"], prompt_text(params["prompt"])
        if session not in self.sessions:
            error = {"code": self.behaviour.prompt_error, "message": f"no session {session}"}
            self.wire.send(id=number, error=error)
            return
        second = self.scenario.get("second", self.behaviour.second)
        before, steps = self.open_turns(session), self.steps(text)
        if before and second == "merges" and before[-1].add(text, steps, number):
            return
        if before and second == "cancels":
            self.cancel(session)
        turn = self.new_turn(session, number, text)
        if told := OUT.search("".join(block.get("text", "") for block in params["prompt"])):
            self.out[session] = told[0]
        turn.out = self.out.get(session, turn.out)
        turn.after = before[-1] if before and second != "overlaps" else None
        self.begin_turn(turn, self.around(turn.kept, text, steps))

    def new_turn(self, session: str, number: Any, text: str) -> Turn:
        return Turn(self.wire, self.behaviour, self.sessions, self.sessions[session], number, text)

    def around(self, kept: Session, text: str, steps: list[JSON]) -> list[JSON]:
        """Add what every turn of the scenario has: in the first one of a session its title and commands, then costs."""
        before: list[JSON] = []
        if not kept.prompted and (titles := self.scenario.get("titles")):
            ways: JSON = {"prompt": {}, "late": {"late": LATE_TITLE}, "listed": {"shown": False}}
            before.append({"title": title_of(text), **ways[titles]})
        if not kept.prompted and self.behaviour.commands_again and "commands" in self.scenario:
            before.append({"update": self.commands()})
        kept.prompted = True
        return [*before, *steps, *({"spend": spent} for spent in [self.scenario.get("spend")] if spent)]

    def begin_turn(self, turn: Turn, steps: list[JSON]) -> None:
        self.turns = [*(other for other in self.turns if not other.responded), turn]
        threading.Thread(target=self.play, args=(turn, steps), daemon=True).start()

    def open_turns(self, session: str) -> list[Turn]:
        """Return the session's turns that have not been answered, oldest first."""
        return [turn for turn in self.turns if turn.session == session and not turn.responded]

    def play(self, turn: Turn, steps: list[JSON]) -> None:
        try:
            turn.play(steps)
        except BrokenPipeError:
            os._exit(0)
        except Exception as exc:  # noqa: BLE001 - a mistake in a scenario must be loud, not a hanging test
            sys.stderr.write(f"scenario: {exc!r}\n")
            sys.stderr.flush()
            os._exit(EXIT_BAD_SCENARIO)

    def steps(self, text: str) -> list[JSON]:
        """Return the steps for a prompt: those of its command, of its first word in ``words``, else of ``turns``."""
        if command := self.command_in(text):
            return command
        for word, steps in self.scenario.get("words", {}).items():
            if word in text:
                return list(steps)
        number = self.journal.count("turn") if self.scenario.get("counter") == "log" else self.played
        self.played += 1
        self.journal.write("turn", number=number)
        turns = self.scenario.get("turns") or [[{"echo": True}]]
        return list(turns[min(number, len(turns) - 1)])

    def command_in(self, text: str) -> list[JSON]:
        """Return the steps of the command that a prompt begins with, where the scenario has that one."""
        name, _, rest = text.removeprefix("/").partition(" ")
        if not text.startswith("/") or name not in [known.get("name") for known in self.scenario.get("commands", [])]:
            return []
        steps = self.scenario.get("slash", {}).get(name, [{"text": f"/{name}: {{rest}}"}])
        filled: list[JSON] = json.loads(json.dumps(steps).replace("{rest}", json.dumps(rest)[1:-1]))
        return filled

    def on_initialize(self, number: Any, params: JSON) -> None:
        client = params.get("clientCapabilities") or {}
        announced = ((client.get("session") or {}).get("configOptions") or {}).get("boolean")
        self.sessions.booleans = announced not in (None, False)  # an empty object announces, as everywhere
        offered = ("resume", "fork", "close", "list", "delete")
        session: JSON = {name: {} for name in offered if self.scenario.get(name)}
        capabilities = {
            "loadSession": bool(self.scenario.get("load")),
            "promptCapabilities": {"image": True, "embeddedContext": True},
            "sessionCapabilities": session,
            **({"auth": {"logout": {}}} if self.scenario.get("auth", {}).get("logout") else {}),
            **self.scenario.get("agent", {}),
        }
        while "gate" in self.start and not os.path.exists(self.start["gate"]):
            time.sleep(POLL)
        info = {"name": f"scripted-{self.scenario.get('behaviour', 'plain')}", "version": "1"}
        version = self.start.get("protocolVersion", 1)
        result = {"protocolVersion": version, "agentCapabilities": capabilities, "agentInfo": info}
        result["authMethods"] = self.login.methods(client)
        if self.scenario.get("steering"):
            result["_meta"] = {"steering": {"supported": True}}
        self.wire.send(id=number, result=result)

    def on__session_steering(self, number: Any, params: JSON) -> None:
        """Put text into the running turn; the answer is on its way before anything that comes of it."""
        how = self.scenario.get("steering")
        if not how:
            raise RequestError(METHOD_NOT_FOUND)
        session, text = params["sessionId"], prompt_text(params["prompt"])
        polite = params.get("_meta", {}).get("steering", {}).get("idleBehavior") == "promptRequired"
        with self.wire.changed:
            turns = self.open_turns(session)
            if turns and turns[0].takes_text():
                turns[0].add(text, self.steps(text))
                self.wire.send(id=number, result={"outcome": "injected"})
            elif polite and how != "detached":
                self.wire.send(id=number, result={"outcome": "promptRequired", "reason": "noRunningTurn"})
            else:
                self.wire.send(id=number, result={"outcome": "startedNewTurn"})
                self.begin_turn(self.new_turn(session, None, text), self.steps(text))

    def on_session_new(self, number: Any, params: JSON) -> None:
        if self.start.get("auth_required"):
            raise RequestError(AUTH_REQUIRED)
        self.login.require()
        if self.behaviour.greets:
            self.wire.send(method="_auth/status_update", params={"status": "ok"})
        session = self.sessions.create(params.get("cwd", ""))
        session.servers = params.get("mcpServers", [])
        self.wire.send(id=number, result={"sessionId": session.id, **session.opened()})
        self.tell_commands(session.id)

    def commands(self) -> JSON:
        default = [{"name": "compact", "description": "shorten the history"}]
        told = self.scenario.get("commands", default)
        return {"sessionUpdate": "available_commands_update", "availableCommands": told}

    def tell_commands(self, session: str) -> None:
        if "commands" in self.scenario or self.behaviour is not BEHAVIOURS["plain"]:
            self.wire.update(session, self.commands())

    def on_session_load(self, number: Any, params: JSON) -> None:
        how = self.scenario.get("load")
        session = self.reopen(how, params)
        if self.behaviour.commands_first and "commands" in self.scenario:
            self.tell_commands(session.id)
        if how == "replay_after":
            self.wire.send(id=number, result=session.opened())
        self.replay(session)
        if how != "replay_after":
            self.wire.send(id=number, result=session.opened())
        if not self.behaviour.commands_first and "commands" in self.scenario:
            self.tell_commands(session.id)

    def on_session_resume(self, number: Any, params: JSON) -> None:
        session = self.reopen(self.scenario.get("resume"), params)
        self.wire.send(id=number, result=session.opened())
        if "commands" in self.scenario:
            self.tell_commands(session.id)

    def on_session_fork(self, number: Any, params: JSON) -> None:
        """Copy a session, prompted or not; ``replay``: with its history, as one real agent does."""
        how = self.scenario.get("fork")
        if not how:
            raise RequestError(METHOD_NOT_FOUND)
        self.login.require()
        session = None if how == "fails" else self.sessions.fork(params["sessionId"], params.get("cwd", ""))
        if session is None:
            raise RequestError({"code": self.behaviour.load_error, "message": f"no session {params['sessionId']}"})
        session.servers = params.get("mcpServers", [])
        if how == "replay":
            self.replay(session)
        self.wire.send(id=number, result={"sessionId": session.id, **session.opened()})
        if "commands" in self.scenario:
            self.tell_commands(session.id)

    def on_session_close(self, number: Any, params: JSON) -> None:
        self.close(number, params, "close")

    def on_session_delete(self, number: Any, params: JSON) -> None:
        self.close(number, params, "delete")

    def close(self, number: Any, params: JSON, how: str) -> None:
        if not self.scenario.get(how):
            raise RequestError(METHOD_NOT_FOUND)
        self.cancel(params["sessionId"])
        self.sessions.forget(params["sessionId"], deleted=how == "delete")
        self.wire.send(id=number, result={})

    def on_session_list(self, number: Any, params: JSON) -> None:
        if not self.scenario.get("list"):
            raise RequestError(METHOD_NOT_FOUND)
        self.login.require()
        self.wire.send(id=number, result=self.sessions.page(params.get("cwd"), params.get("cursor")))

    def replay(self, session: Session) -> None:
        history = session.history if "store" in self.scenario else self.scenario.get("history", HISTORY)
        for role, text in history:
            kind = "user_message_chunk" if role == "user" else "agent_message_chunk"
            self.wire.update(session.id, {"sessionUpdate": kind, "content": {"type": "text", "text": text}})

    def reopen(self, how: Any, params: JSON) -> Session:
        if not how:
            raise RequestError(METHOD_NOT_FOUND)
        self.login.require()
        session = None if how == "unknown" else self.sessions.reopen(params["sessionId"], params.get("cwd", ""))
        if session is None:
            raise RequestError({"code": self.behaviour.load_error, "message": f"no session {params['sessionId']}"})
        # Those of an earlier opening are no longer valid.
        session.servers = params.get("mcpServers", [])
        return session

    def on_session_set_config_option(self, number: Any, params: JSON) -> None:
        session = self.opened(params)
        if session.options is None:
            raise RequestError(METHOD_NOT_FOUND)
        self.refuse(params["configId"], params["value"])
        option = session.choose(params["configId"], params["value"])
        if self.behaviour.tells_mode and option.get("category") == "mode":
            self.wire.update(
                session.id, {"sessionUpdate": "current_mode_update", "currentModeId": option["currentValue"]}
            )
        if self.behaviour.tells_options:
            told = {"sessionUpdate": "config_option_update", "configOptions": session.shown_options()}
            self.wire.update(session.id, told)
        self.wire.send(id=number, result={"configOptions": session.shown_options()})

    def on_session_set_mode(self, number: Any, params: JSON) -> None:
        self.refuse("mode", params["modeId"])
        session = self.opened(params)
        session.choose_mode(params["modeId"])
        self.wire.send(id=number, result={})

    def on_session_set_model(self, number: Any, params: JSON) -> None:
        self.refuse("model", params["modelId"])
        self.opened(params).choose_model(params["modelId"], any_name=self.behaviour.any_model)
        self.wire.send(id=number, result={})

    def opened(self, params: JSON) -> Session:
        if params["sessionId"] not in self.sessions:
            raise RequestError({"code": self.behaviour.prompt_error, "message": f"no session {params['sessionId']}"})
        return self.sessions[params["sessionId"]]

    def refuse(self, name: str, value: Any) -> None:
        """Refuse what the scenario refuses: an option as a whole, or one value of it as ``id=value``."""
        refused = self.scenario.get("refuses", {})
        if error := refused.get(name) or refused.get(f"{name}={value}"):
            raise RequestError(error)

    def on_authenticate(self, number: Any, params: JSON) -> None:
        self.login.authenticate(params.get("methodId"))
        self.wire.send(id=number, result={})

    def on_logout(self, number: Any, _: JSON) -> None:
        self.login.logout()
        self.wire.send(id=number, result={})


def main() -> None:
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ["AGENT_SCENARIO"]
    if not given.lstrip().startswith("{"):
        with open(given) as file:
            given = file.read()
    scenario = json.loads(given)
    agent = Agent(scenario)
    agent.begin()
    agent.serve()


if __name__ == "__main__":
    main()
