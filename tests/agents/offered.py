"""What the scripted agent offers around its turns: sessions that can be kept, their options, commands, titles, logins.

`scenario.py` names the keys. Standard library only, like `scripted`, which answers requests with what is decided here:
nothing here writes to the client. The mutable state is the sessions and whether somebody is logged in, touched by the
reading thread, but for a session's history, title and cost, which its turn writes.
"""

from __future__ import annotations

import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    JSON = dict[str, Any]

METHOD_NOT_FOUND = {"code": -32601, "message": "method not found"}
AUTH_REQUIRED = {"code": -32000, "message": "Authentication required"}
HISTORY = [["user", "earlier question"], ["agent", "earlier answer"]]
TITLE_LENGTH = 60
PAGE = 20  # sessions in a page of session/list, if the scenario says nothing else


class RequestError(Exception):
    """A request is answered with this error object."""

    def __init__(self, error: JSON) -> None:
        super().__init__(error["message"])
        self.error = error


def invalid(message: str) -> RequestError:
    return RequestError({"code": -32602, "message": message})


class Session:
    """One session: what was said in it, and its own copy of the scenario's options, modes and models."""

    def __init__(self, session_id: str, cwd: str, scenario: JSON) -> None:
        # Through JSON: what one session chooses must not show in another.
        offered = json.loads(json.dumps({name: scenario.get(name) for name in ("options", "modes", "models")}))
        self.id = session_id
        self.cwd = cwd
        self.title: str | None = None
        self.updated_at = now()
        self.history: list[list[str]] = []
        self.cost = 0.0
        self.prompted = False
        self.options: list[Any] | None = offered["options"]
        self.modes: JSON | None = offered["modes"]
        self.models: JSON | None = offered["models"]
        self.booleans = True
        self.servers: list[JSON] = []

    def opened(self) -> JSON:
        """Return what the answers to session/new, load, resume and fork say of options, modes and models."""
        said = {"configOptions": self.shown_options(), "modes": self.modes, "models": self.models}
        return {name: value for name, value in said.items() if value is not None}

    def shown_options(self) -> list[Any] | None:
        """Return the complete list, with booleans only for a client that announced them."""
        if self.options is None or self.booleans:
            return self.options
        return [option for option in self.options if not isinstance(option, dict) or option.get("type") != "boolean"]

    def choose(self, option_id: str, value: Any) -> JSON:
        """Set an option to one of its values and return it; what the protocol does not know is refused."""
        for option in self.options or []:
            if isinstance(option, dict) and option.get("id") == option_id:
                known = isinstance(value, bool) if option["type"] == "boolean" else value in values_of(option)
                if not known:
                    raise invalid(f"{option_id} can't be {value}")
                option["currentValue"] = value
                return option
        raise invalid(f"unknown option: {option_id}")

    def choose_mode(self, mode: str) -> None:
        if self.modes is None:
            raise RequestError(METHOD_NOT_FOUND)
        if mode not in [known["id"] for known in self.modes["availableModes"]]:
            raise invalid(f"unknown mode: {mode}")
        self.modes["currentModeId"] = mode

    def choose_model(self, model: str, *, any_name: bool) -> None:
        if self.models is None:
            raise RequestError(METHOD_NOT_FOUND)
        if not any_name and model not in [known["modelId"] for known in self.models["availableModels"]]:
            raise invalid(f"unknown model: {model}")
        self.models["currentModelId"] = model

    def info(self) -> JSON:
        """Return the entry for session/list."""
        info = {"sessionId": self.id, "cwd": self.cwd, "updatedAt": self.updated_at}
        return info if self.title is None else {**info, "title": self.title}


def values_of(option: JSON) -> list[str]:
    """Return the values of a select, grouped or not, leaving out malformed ones."""
    entries = [entry for entry in option.get("options", []) if isinstance(entry, dict)]
    flat = [one for entry in entries for one in (entry["options"] if "group" in entry else [entry])]
    return [one["value"] for one in flat if "value" in one]


def now() -> str:
    """Return the time as session/list tells it, to the microsecond: sessions of one test differ."""
    seconds, rest = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06}Z"


class Sessions:
    """The sessions of this process and, with the scenario's ``store``, those that any process of it left there."""

    def __init__(self, scenario: JSON) -> None:
        self._scenario = scenario
        self._store: str | None = scenario.get("store")
        self._known: dict[str, Session] = {}
        self.booleans = False

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._known

    def __getitem__(self, session_id: str) -> Session:
        return self._known[session_id]

    def create(self, cwd: str, session_id: str = "") -> Session:
        session = Session(session_id or os.urandom(16).hex(), cwd, self._scenario)
        session.booleans = self.booleans
        self._known[session.id] = session
        self.save(session)
        return session

    def reopen(self, session_id: str, cwd: str) -> Session | None:
        """Return a session to go on with; without a store each id is known, with one those that lie there."""
        if session_id in self._known:
            return self._known[session_id]
        if self._store is None:
            session = self.create(cwd, session_id)
            session.history = [list(entry) for entry in self._scenario.get("history", HISTORY)]
            return session
        kept = self._kept().get(session_id)
        return None if kept is None else self._restored(kept, session_id, cwd)

    def fork(self, session_id: str, cwd: str) -> Session | None:
        """Return a copy of a session, with its history and choices."""
        origin = self._known.get(session_id) or (self.reopen(session_id, cwd) if self._store else None)
        if origin is None:
            return None
        # Through JSON: the copy and its origin go ways of their own.
        kept = json.loads(json.dumps(vars(origin)))
        copied = self._restored(kept, os.urandom(16).hex(), cwd)
        copied.options, copied.modes, copied.models = kept["options"], kept["modes"], kept["models"]
        return copied

    def _restored(self, kept: JSON, session_id: str, cwd: str) -> Session:
        # Options begin anew: no agent promises to keep them over a resume.
        session = self.create(cwd, session_id)
        session.title, session.history, session.cost = kept["title"], kept["history"], kept["cost"]
        session.prompted = kept["prompted"]
        self.save(session)
        return session

    def forget(self, session_id: str, *, deleted: bool = False) -> None:
        """Close a session; deleted, it can't be reopened either."""
        self._known.pop(session_id, None)
        if deleted and self._store and session_id in self._kept():
            os.remove(os.path.join(self._store, f"{session_id}.json"))

    def remember(self, session: Session, role: str, text: str) -> None:
        """Add to a session's history, for this process and later ones."""
        session.history.append([role, text])
        session.updated_at = now()
        self.save(session)

    def save(self, session: Session) -> None:
        if self._store is not None:
            os.makedirs(self._store, exist_ok=True)
            path = os.path.join(self._store, f"{session.id}.json")
            with open(f"{path}.part", "w") as file:
                json.dump(vars(session), file)
            os.replace(f"{path}.part", path)  # another process never reads half of it

    def page(self, cwd: str | None, cursor: str | None) -> JSON:
        """Return one page of session/list, the newest first."""
        infos = [*self._scenario.get("listed", []), *(self._info(kept) for kept in self._all())]
        if cwd is not None:
            infos = [info for info in infos if info["cwd"] == cwd]
        infos.sort(key=lambda info: str(info.get("updatedAt")), reverse=True)
        if cursor is not None and not cursor.startswith("after-"):
            raise invalid(f"unknown cursor: {cursor}")
        start = int(cursor.removeprefix("after-")) if cursor else 0
        size = self._scenario["list"] if type(self._scenario.get("list")) is int else PAGE
        page: JSON = {"sessions": infos[start : start + size]}
        return {**page, "nextCursor": f"after-{start + size}"} if start + size < len(infos) else page

    def _all(self) -> list[JSON]:
        return list({**{name: vars(one) for name, one in self._known.items()}, **self._kept()}.values())

    def _info(self, kept: JSON) -> JSON:
        session = Session(kept["id"], kept["cwd"], {})
        session.title, session.updated_at = kept["title"], kept["updated_at"]
        return session.info()

    def _kept(self) -> dict[str, JSON]:
        kept: dict[str, JSON] = {}
        if self._store is not None and os.path.isdir(self._store):
            for name in os.listdir(self._store):
                if name.endswith(".json"):
                    with open(os.path.join(self._store, name)) as file:
                        kept[name.removesuffix(".json")] = json.load(file)
        return kept


class Login:
    """Whether somebody is logged in: in this process or, where ``auth`` names a file, for all while that is there."""

    def __init__(self, auth: JSON | None) -> None:
        self._auth: JSON = auth or {}
        self._file: str | None = self._auth.get("file")
        self._done = not self._auth.get("required", bool(self._auth))

    def methods(self, client: JSON) -> list[JSON]:
        """Return the methods that a client with these capabilities may hear of."""
        announced = bool(client.get("auth", {}).get("terminal"))
        return [one for one in self._auth.get("methods", []) if one.get("type") != "terminal" or announced]

    def require(self) -> None:
        """Refuse what needs a login while there is none."""
        if not (self._done if self._file is None else os.path.exists(self._file)):
            raise RequestError(AUTH_REQUIRED)

    def authenticate(self, method_id: Any) -> None:
        """Log in as the scenario's ``answer`` has it."""
        if not self._auth:
            raise RequestError(METHOD_NOT_FOUND)
        agents_own = [one["id"] for one in self._auth.get("methods", []) if one.get("type") != "terminal"]
        if method_id not in agents_own:
            raise invalid(f"not a method to log in by: {method_id}")
        if self._auth.get("answer", "ok") != "ok":
            raise RequestError(self._auth["answer"])
        self._done = True
        if self._file is not None:
            open(self._file, "w").close()

    def logout(self) -> None:
        if not self._auth.get("logout"):
            raise RequestError(METHOD_NOT_FOUND)
        self._done = False
        if self._file is not None and os.path.exists(self._file):
            os.remove(self._file)


def title_of(text: str) -> str:
    """Return the title that agents make of a prompt."""
    return " ".join(text.split())[:TITLE_LENGTH]
