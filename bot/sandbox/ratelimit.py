"""Discord's rate limits: fixed windows per bucket and channel, a hidden limit on renames, the global 50 requests/s.

Rules take `now` and return a verdict; `rest` turns verdicts into headers and 429 answers. The mutable state is the map
of open windows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class RateLimits(Enum):
    """Whether limits hold, and how long their windows are."""

    OFF = 0.0
    REAL = 1.0
    SCALED = 0.1


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` requests in a window of `seconds`."""

    name: str
    limit: int
    seconds: float


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("create_message", 5, 5.0),
        Rule("edit_message", 5, 5.0),
        Rule("delete_message", 5, 1.0),
        Rule("reaction", 1, 0.25),
        Rule("typing", 5, 5.0),
        Rule("edit_channel", 5, 15.0),
    )
}
RENAME = Rule("rename", 2, 600.0)
GLOBAL = Rule("global", 50, 1.0)
GLOBAL_EXEMPT = frozenset({"interaction", "followup", "sandbox"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answer's headers say; `scope` is set where the request is refused."""

    rule: Rule
    remaining: int
    reset_after: float
    scope: str | None = None
    retry_after: float = 0.0


@dataclass(slots=True)
class _Window:
    ends: float
    used: int


class Limiter:
    """Counts the requests of each account by itself; in the mode OFF it has no opinion.

    Attributes:
        limit_people: whether people have limits too; a test of a client asks for that.
    """

    def __init__(self, mode: RateLimits) -> None:
        self.mode = mode
        self.limit_global = True
        self.limit_people = False
        self._windows: dict[tuple[str, str], _Window] = {}

    def judge(self, name: str, key: str, now: float, *, rename: bool = False, account: str = "") -> Verdict | None:
        """Count a request of the rule `name` on the channel `key`; None where no limit applies.

        Args:
            account: the person who asks; empty for the bot.
        """
        if self.mode is RateLimits.OFF or (account and not self.limit_people):
            return None
        key = f"{account}/{key}" if account else key
        if name not in GLOBAL_EXEMPT and self.limit_global:
            everyone = self._window(GLOBAL, account, now)
            # The global limit first: a request that it refuses counts in no other window.
            if everyone.used >= GLOBAL.limit:
                return Verdict(GLOBAL, 0, everyone.ends - now, "global", everyone.ends - now)
            everyone.used += 1
        rule = RULES.get(name)
        return None if rule is None else self._judge_rule(rule, key, now, rename=rename)

    def _judge_rule(self, rule: Rule, key: str, now: float, *, rename: bool) -> Verdict:
        window = self._window(rule, key, now)
        left = window.ends - now
        if window.used >= rule.limit:
            return Verdict(rule, 0, left, "user", left)
        window.used += 1
        remaining = rule.limit - window.used
        if rename:
            hidden = self._window(RENAME, key, now)
            if hidden.used >= RENAME.limit:
                # The headers say that there is room, as Discord's do: a client can't see this limit coming.
                return Verdict(rule, max(remaining, 1), left, "shared", hidden.ends - now)
            hidden.used += 1
        return Verdict(rule, remaining, left)

    def _window(self, rule: Rule, key: str, now: float) -> _Window:
        """The open window, or one that opens with this request."""
        window = self._windows.get((rule.name, key))
        # A fixed window that begins with the first request, not a sliding one.
        if window is None or now >= window.ends:
            window = _Window(now + rule.seconds * self.mode.value, 0)
            self._windows[(rule.name, key)] = window
        return window


def _up(seconds: float) -> float:
    """Rounded up to a millisecond, so that a client that waits that long is not too early."""
    return math.ceil(seconds * 1000) / 1000


def headers(verdict: Verdict, wall: float) -> dict[str, str]:
    """The X-RateLimit headers of an answer; `wall` is the epoch in seconds."""
    shown = {
        "X-RateLimit-Limit": str(verdict.rule.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": f"{wall + verdict.reset_after:.3f}",
        "X-RateLimit-Reset-After": f"{_up(verdict.reset_after):.3f}",
        "X-RateLimit-Bucket": verdict.rule.name,
    }
    if verdict.scope is None:
        return shown
    return {**shown, **refusal_headers(verdict.retry_after, verdict.scope)}


def refusal_headers(retry_after: float, scope: str, *, via: bool = True) -> dict[str, str]:
    """The headers that only a 429 has."""
    shown = {"Retry-After": f"{_up(retry_after):.3f}", "X-RateLimit-Scope": scope}
    if scope == "global":
        shown["X-RateLimit-Global"] = "true"
    if via:
        shown["Via"] = "1.1 google"
    return shown
