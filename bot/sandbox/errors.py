"""Discord's JSON error codes with their HTTP status and message, as one exception.

DiscordError
└── InvalidForm: 50035, with the field that is wrong
"""

from typing import Any

from bot.sandbox.model import Json

_CODES: dict[int, tuple[int, str]] = {
    0: (401, "401: Unauthorized"),
    10002: (404, "Unknown Application"),
    10003: (404, "Unknown Channel"),
    10004: (404, "Unknown Guild"),
    10007: (404, "Unknown Member"),
    10008: (404, "Unknown Message"),
    10013: (404, "Unknown User"),
    10014: (400, "Unknown Emoji"),
    10015: (404, "Unknown Webhook"),
    10062: (404, "Unknown interaction"),
    10063: (404, "Unknown application command"),
    20001: (403, "Bots cannot use this endpoint"),
    20002: (403, "Only bots can use this endpoint"),
    30010: (400, "Maximum number of reactions reached (20)"),
    40005: (413, "Request entity too large"),
    40060: (400, "Interaction has already been acknowledged."),
    50001: (403, "Missing Access"),
    50005: (403, "Cannot edit a message authored by another user"),
    50006: (400, "Cannot send an empty message"),
    50007: (403, "Cannot send messages to this user"),
    50013: (403, "Missing Permissions"),
    50024: (400, "Cannot execute action on this channel type"),
    50027: (401, "Invalid Webhook Token"),
    50034: (400, "You can only bulk delete messages that are under 14 days old."),
    50035: (400, "Invalid Form Body"),
    50083: (400, "Thread is archived"),
    50109: (400, "The request body contains invalid JSON."),
    160002: (403, "Cannot reply without permission to read message history"),
    160004: (400, "A thread has already been created for this message"),
    160005: (400, "Thread is locked"),
}


class DiscordError(Exception):
    """An answer that refuses the request, with Discord's status, code and message."""

    def __init__(self, code: int, *, status: int | None = None, message: str | None = None) -> None:
        default_status, default_message = _CODES.get(code, (400, "Error"))
        self.code = code
        self.status = default_status if status is None else status
        self.message = message or default_message
        super().__init__(f"{self.status} (code {code}): {self.message}")

    def body(self) -> Json:
        return {"message": self.message, "code": self.code}


class InvalidForm(DiscordError):
    """50035: `path` is the field, in dots; `reason` says what is wrong with it."""

    def __init__(self, path: str, reason: str, kind: str = "BASE_TYPE_BAD_VALUE") -> None:
        super().__init__(50035)
        self.path = path
        self.reason = reason
        self._kind = kind
        # The code's own message names no field, and this is what a failing test prints.
        self.args = (f"400 (code 50035): {path}: {reason}",)

    def body(self) -> Json:
        """The JSON body, with the nested `errors` that name the field."""
        leaf: Any = {"_errors": [{"code": self._kind, "message": self.reason}]}
        for part in reversed(self.path.split(".")):
            leaf = {part: leaf}
        return {**super().body(), "errors": leaf}
