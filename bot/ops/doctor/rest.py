"""Questions to Discord's REST interface: plain GETs with the bot's token, no gateway, one try each.

What an answer means is for whoever asks.

AskError                the question was not answered; the message says why
└── Refused             with an error: `status`
"""

from __future__ import annotations

import importlib.metadata
import json
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from pydantic import TypeAdapter, ValidationError

_ANSWER = 10.0

T = TypeVar("T")


class AskError(Exception):
    """Discord did not answer the question."""


class Refused(AskError):
    """Discord answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Questions:
    """Asks Discord; the session is the caller's.

    Args:
        api: the address of the REST interface, without a slash at its end.
    """

    def __init__(self, session: aiohttp.ClientSession, api: str, token: str) -> None:
        self._session, self._api = session, api
        # The form is Discord's: a client that does not name itself may be blocked.
        agent = f"DiscordBot (weft, {importlib.metadata.version('weft')})"
        self._headers = {"Authorization": f"Bot {token}", "User-Agent": agent}
        self._limit = aiohttp.ClientTimeout(total=_ANSWER)

    async def ask(self, path: str, kind: type[T]) -> T:
        """Return what Discord answers.

        Raises:
            Refused: it answered with an error.
            AskError: it could not be reached, or answered something else.
        """
        status, body = await self._get(path)
        if status != HTTPStatus.OK:
            raise Refused(status, _refusal(status, body))
        try:
            return TypeAdapter(kind).validate_python(body)
        except ValidationError as exc:
            raise AskError(f"the answer to {path} can't be understood") from exc

    async def _get(self, path: str) -> tuple[int, Any]:
        # No redirects: the token is for this address only.
        asked = self._session.get(self._api + path, headers=self._headers, timeout=self._limit, allow_redirects=False)
        try:
            async with asked as answer:
                return answer.status, _decoded(await answer.read())
        except TimeoutError as exc:
            raise AskError(f"Discord did not answer within {_ANSWER:g} s") from exc
        except aiohttp.ClientError as exc:
            raise AskError(f"Discord can't be reached: {exc}") from exc


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:  # the proxy in front of Discord answers in HTML
        return None


def _refusal(status: int, body: Any) -> str:
    told = body if isinstance(body, dict) else {}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = told.get("retry_after")
        return (
            f"Discord asks to wait {wait:.0f} s (429)" if isinstance(wait, int | float) else "Discord blocks us (429)"
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"Discord is in trouble itself ({status})"
    return f"Discord answered {told.get('message') or 'an error'} ({told.get('code') or status})"
