"""Why a host could not be asked: what ssh's last words mean, for people and for those who run the bot (pure).

What ssh says has names of users and addresses in it. It goes into the log and to the doctor; in threads and `/status`
stands what is meant, beside the name that the settings give the host.
"""

from __future__ import annotations

from acp.errors import AgentSpawnError, SpawnFailure

MOST_WORDS = 300
_LAST = 2

ENDED = "the connection has ended"
SILENT = "does not answer"


class SshFailure(Exception):
    """A host could not be asked, or its shell did not do what it should.

    Attributes:
        failure: what that means for a start.
        reason: what is wrong, for people, to be read behind the host's name: ``does not answer``.
        fix: what to do; "" where waiting is all there is.
        said: ssh's own last words; "" if there are none.
        busy: it hung up before it heard who we are.
    """

    busy = False

    def __init__(self, failure: SpawnFailure, reason: str, fix: str = "", said: str = "") -> None:
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.failure = failure
        self.reason = reason
        self.fix = fix
        self.said = said

    @property
    def silent(self) -> bool:
        """Whether nothing was heard of it for all the time for connecting."""
        return self.reason == SILENT

    @property
    def in_full(self) -> str:
        """What is wrong, for those who run the bot."""
        return f"{self.reason} ({self.said.rstrip('.')})" if self.said else self.reason

    def for_start(self, host: str) -> AgentSpawnError:
        """Return what a start fails with."""
        return AgentSpawnError(f"{host}: {self}", failure=self.failure)


_HANDS = "log in once by hand as Weft's user"
_MEANINGS = (
    # Before the next one, which ssh says behind it: nobody should get used to logging in all the same.
    (
        "has changed and you have requested",
        "has another host key than before",
        "find out why, then update known_hosts",
    ),
    ("host key verification failed", "has a host key that Weft does not know", f"{_HANDS}, and check the host's key"),
    (
        "permission denied",
        "does not let Weft log in",
        "add Weft's public key to that account's authorized_keys, or name the key in identity_file",
    ),
    ("too many authentication failures", "was offered too many keys", "name the one key to use in identity_file"),
    (
        "bad owner or permissions",
        "can't be asked: ssh does not take its own configuration",
        "give ssh's configuration the owner and the rights that ssh asks for",
    ),
    ("bad configuration option", "can't be asked: ssh's configuration has a mistake", "fix ssh's configuration"),
    ("no matching", "has no algorithm in common with Weft's ssh", "let both sides offer a common algorithm"),
)
"""What keeps ssh from logging in until somebody fixes it."""

_PASSING = (
    ("timed out", SILENT, ""),
    ("not responding", f"{SILENT} any more", ""),
    ("connection refused", "refuses the connection", ""),
    ("no route to host", "can't be reached: there is no route to it", ""),
    ("network is unreachable", "can't be reached: there is no route to it", ""),
    ("resolve", "has a name that can't be resolved", f"{_HANDS} to see why"),
    ("connection reset", "hung up", ""),
    ("closed", "hung up", ""),
    (ENDED, ENDED, ""),
)
_BUSY = ("kex_exchange_identification", "banner exchange", "connection reset by", "exceeded maxstartups")


def refusal(words: str) -> SshFailure:
    """Return what ssh's last words mean."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    said = (lines[-1] if lines else "ssh ended without a word")[:MOST_WORDS]
    low = " ".join(lines[-_LAST:]).lower()  # before them may stand a banner, which says anything
    for beginning, reason, fix in _MEANINGS:
        if beginning in low:
            return SshFailure(SpawnFailure.RIGHTS, reason, fix, said)
    for beginning, reason, fix in _PASSING:
        if beginning in said.lower():
            return SshFailure(SpawnFailure.UNREACHABLE, reason, fix, said)
    return SshFailure(SpawnFailure.UNREACHABLE, "can't be reached: Weft's log has what ssh says", said=said)


def is_busy(words: str) -> bool:
    """Whether the host hung up before it heard who we are, as sshd does while many log in at once."""
    low = words.lower()
    # One that was silent for all the time for connecting is not asked three times for as long.
    return any(one in low for one in _BUSY) and "timed out" not in low
