"""What a bot must not have done: a pure reading of the request log, the interactions and the messages."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from bot.sandbox.checks import MAX_CONTENT, utf16_length
from bot.sandbox.interactions import Interaction
from bot.sandbox.model import Json, RestCall


class Problem(Enum):
    """The kinds of problem; the value is what `allow` names them by."""

    REFUSED = "refused"
    RATE_LIMITED = "rate-limited"
    UNANSWERED = "unanswered"
    TOO_LONG = "too-long"
    MENTIONS = "mentions"
    AFTER_ARCHIVE = "after-archive"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem and a line that says where."""

    problem: Problem
    text: str
    status: int = 0
    code: int = 0

    def is_allowed(self, allow: Collection[int | str | Problem]) -> bool:
        """Whether `allow` names it, by kind, HTTP status or JSON code."""
        # Without 0, which stands for no status and no code: it would allow everything that has none.
        return bool({self.problem, self.problem.value, self.status, self.code} & {one for one in allow if one})


def find_problems(calls: Iterable[RestCall], interactions: Iterable[Interaction]) -> Iterator[Finding]:
    """Every problem, requests before interactions."""
    for call in calls:
        yield from _problems_of_call(call)
    for interaction in interactions:
        if not interaction.acked:
            text = f"{interaction.type.name} {interaction.id} was never acknowledged"
            yield Finding(Problem.UNANSWERED, text)
        elif interaction.waiting:
            text = f"{interaction.type.name} {interaction.id} was deferred and never answered"
            yield Finding(Problem.UNANSWERED, text)


def _problems_of_call(call: RestCall) -> Iterator[Finding]:
    where = f"{call.method} {call.path} -> {call.status} (code {call.code})"
    if call.archived:
        yield Finding(Problem.AFTER_ARCHIVE, where, call.status, call.code)
    # What a test made fail says nothing of the bot; what it wrote is judged all the same.
    elif call.status >= 400 and not call.injected:
        problem = Problem.RATE_LIMITED if call.status == 429 else Problem.REFUSED
        yield Finding(problem, where, call.status, call.code)
    for body in message_bodies(call):
        content = body.get("content")
        if isinstance(content, str) and utf16_length(content) > MAX_CONTENT:
            yield Finding(Problem.TOO_LONG, f"{where}: {utf16_length(content)} units")
        allowed = body.get("allowed_mentions")
        # Missing is the worst of all: Discord then notifies everybody whom a text mentions.
        if not isinstance(allowed, dict) or allowed.get("parse", ["everyone"]):
            yield Finding(Problem.MENTIONS, f"{where}: allowed_mentions is {allowed!r}")


def message_bodies(call: RestCall) -> list[Json]:
    """The message bodies that a request holds: none, or one."""
    body = call.body
    if not isinstance(body, dict):
        return []
    if call.rule in ("create_message", "edit_message") or (call.rule == "followup" and call.method != "GET"):
        return [body]
    if call.rule == "interaction" and body.get("type") in (4, 7):
        return [body.get("data") or {}]
    if call.rule == "start_thread" and isinstance(body.get("message"), dict):
        return [body["message"]]
    return []
