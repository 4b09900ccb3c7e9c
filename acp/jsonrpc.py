"""JSON-RPC 2.0 over newline-delimited JSON: framing, decoding, encoding (pure).

Nothing that a peer can send raises here: what is no message becomes `Noise` or `Overlong`. Ids are typed exactly, as
``True`` and ``1.0`` equal 1 in Python but not on the wire. `acp.peer` pairs responses with requests.
"""

from __future__ import annotations

import gc
import json
import re
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import orjson

MAX_LINE = 16 * 1024 * 1024
"""Bytes in the longest line that is accepted."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600

RequestId = int | str | None

_VERSION = "2.0"
_ID_TYPES = (int, str, NoneType)
_BOM = b"\xef\xbb\xbf"
_SAMPLE = 256
_LARGE = 1024 * 1024
_SURROGATE = re.compile("[\ud800-\udfff]")
# Only ids of ours are looked for, which count from 1: one with more digits is somebody else's.
_ID_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15})\s*,\s*"(?:result|error)"')
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*(\d{1,15})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_SCALAR = rb'("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|null)'
# Whole members from either end of the line, and none from its middle: within parameters, an "id" is not the request's.
_MEMBER = re.compile(rb'"(jsonrpc|method|id)"\s*:\s*' + _SCALAR)
_FIRST_MEMBERS = re.compile(rb"\s*\{\s*(?:" + _MEMBER.pattern + rb"\s*,\s*)*")
_LAST_MEMBERS = re.compile(rb"(?:,\s*" + _MEMBER.pattern + rb"\s*)+\}\s*$")
_ANSWER_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"(?:result|error)"')
_SESSION = re.compile(rb'"sessionId"\s*:\s*"([^"\\]{1,200})"')


# --- messages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A call that wants an answer."""

    id: RequestId
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that wants no answer."""

    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RpcError:
    """The error object of a response; codes and messages are free-form in practice."""

    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request: a result, unless there is an error."""

    id: RequestId
    result: Any = None
    error: RpcError | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A request that can't be used; its sender waits for an answer under ``id`` all the same."""

    id: Any


@dataclass(frozen=True, slots=True)
class Noise:
    """A line that is no message. ``response_id`` is set when it looks like the broken answer to that request."""

    response_id: int | None = None
    request: Unusable | None = None


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line that was dropped for its length: its first and last bytes and its size."""

    head: bytes
    size: int
    tail: bytes = b""

    @property
    def response_id(self) -> int | None:
        """The id of the request that the line seems to have answered."""
        return _response_id(self.head, self.tail)

    @property
    def request(self) -> Unusable | None:
        """The request that the line seems to have been, if its method and id stand before or after its parameters."""
        first = _FIRST_MEMBERS.match(self.head.removeprefix(_BOM))
        last = _LAST_MEMBERS.search(self.tail)
        members = dict(_MEMBER.findall((first.group() if first else b"") + (last.group() if last else b"")))
        if b"method" not in members or b"id" not in members:
            return None
        try:
            return Unusable(orjson.loads(members[b"id"]))
        except orjson.JSONDecodeError:
            return None


Message = Request | Notification | Response
Line = bytes | Overlong


# --- framing -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class LineDecoder:
    """Cuts a byte stream into lines, without their ends; empty lines are left out.

    A line longer than ``max_line`` is dropped while it comes in, and the next line is whole again. The mutable state
    is the unfinished line.
    """

    max_line: int = MAX_LINE
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0
    _head: bytes | None = None
    _tail: bytes = b""

    def feed(self, data: bytes) -> list[Line]:
        """Return the lines that ``data`` completes."""
        *complete, rest = data.split(b"\n")
        lines: list[Line] = []
        for piece in complete:
            self._take(piece)
            lines += self.end()
        self._take(rest)
        return lines

    def end(self) -> list[Line]:
        """Return the line that the stream ended in the middle of, if any."""
        line: Line = b""
        if self._head is None:
            # A line within one read is not copied: nearly all are.
            line = (self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)).removesuffix(b"\r")
            if len(line) > self.max_line:
                self._drop()
        if self._head is not None:
            line = Overlong(self._head, self._size, self._tail)
        self._parts, self._size, self._head, self._tail = [], 0, None, b""
        return [line] if line else []

    def _take(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        if self._head is None:
            self._parts.append(piece)
            if self._size > self.max_line + 1:  # one more for the carriage return
                self._drop()
        else:
            # Only its first and last bytes are kept: they say whose message it was, whatever its length.
            self._head += piece[: max(_SAMPLE - len(self._head), 0)]
            self._tail = (self._tail + piece[-_SAMPLE:])[-_SAMPLE:]

    def _drop(self) -> None:
        whole = b"".join(self._parts)
        self._head, self._tail, self._parts = whole[:_SAMPLE], whole[-_SAMPLE:], []


# --- decoding ----------------------------------------------------------------------------------------------------


def decode_message(line: bytes) -> Message | Noise:
    """Return the message in ``line``; a line that `orjson` refuses is tried once more with a lenient decoder."""
    # A line of hundreds of thousands of objects makes the garbage collector look at all of them again and again: it
    # takes longer than the decoding, and finds nothing.
    pause = len(line) >= _LARGE and gc.isenabled()
    if pause:
        gc.disable()
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError:
        raw = _decode_leniently(line)
        if raw is None:
            return Noise(_response_id(line[:_SAMPLE], line[-_SAMPLE:]))
    finally:
        if pause:
            gc.enable()
    return _classify(raw) if type(raw) is dict and raw.get("jsonrpc") == _VERSION else Noise()


def _classify(raw: dict[str, Any]) -> Message | Noise:
    method, has_id = raw.get("method"), "id" in raw
    # 1. A request or a notification. Parameters that are none count as absent.
    if type(method) is str:
        params = raw.get("params")
        named: dict[str, Any] = params if type(params) is dict else {}
        if not has_id:
            return Notification(method, named)
        # An id that is none is answered all the same where it can be repeated: its sender waits.
        if type(raw["id"]) in _ID_TYPES:
            return Request(raw["id"], method, named)
        return Noise(request=Unusable(raw["id"] if type(raw["id"]) in (float, bool) else None))
    if method is not None or not has_id or type(raw["id"]) not in _ID_TYPES:
        return Noise()
    # 2. A response. Some agents write `"error": null` beside the result, or in place of it.
    error = raw.get("error")
    if error is None:
        return Response(raw["id"], raw.get("result")) if "result" in raw or "error" in raw else Noise()
    if type(error) is not dict:
        return Response(raw["id"], error=RpcError(0, str(error)))
    code, text = error.get("code"), str(error.get("message", ""))
    return Response(raw["id"], error=RpcError(code if type(code) is int else 0, text, error.get("data")))


def _decode_leniently(line: bytes) -> Any:
    """Return what is left of a JSON object with bad UTF-8, lone surrogates, NaN or a byte order mark; None if nothing.

    The result has gone through `orjson` in the end, so that its depth is bounded and its text can be written again.
    """
    line = line.removeprefix(_BOM)
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        raw = json.loads(line.decode(errors="replace"), strict=False, parse_constant=lambda _: None)
        return orjson.loads(_to_text(raw))
    except (ValueError, RecursionError):
        return None


def _to_text(raw: Any) -> str:
    return _SURROGATE.sub("\ufffd", json.dumps(raw, ensure_ascii=False, allow_nan=False))


def _response_id(head: bytes, tail: bytes) -> int | None:
    """Return the id in a line that begins as a response and was lost; a request with the same id is another's."""
    # The id at the end counts only where the beginning is that of an answer: an id within a result is somebody else's.
    found = _ID_FIRST.match(head.removeprefix(_BOM))
    if found is None and _ANSWER_FIRST.match(head.removeprefix(_BOM)):
        found = _ID_LAST.search(tail)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Loss:
    """A message of the peer that was dropped: what is known of it.

    Attributes:
        size: of its line, in bytes.
        too_long: it was dropped for its length; else it is no valid JSON.
        session_id: the session that it seems to have been about.
    """

    size: int
    too_long: bool
    session_id: str | None


def loss_of(line: Line) -> Loss | None:
    """Return what was lost with a line that could not be read; None if it does not even look like a message."""
    if isinstance(line, Overlong):
        size, head, tail = line.size, line.head, line.tail
    else:
        size, head, tail = len(line), line[:_SAMPLE], line[-_SAMPLE:]
    if not head.removeprefix(_BOM).lstrip().startswith((b"{", b"[")) or b'"jsonrpc"' not in head + tail:
        return None
    # Both ends are looked at: agents write the members in any order.
    found = _SESSION.search(head) or _SESSION.search(tail)
    return Loss(size, isinstance(line, Overlong), found[1].decode(errors="replace") if found else None)


# --- encoding ----------------------------------------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """Return the line for ``message``, with its line end; lone surrogates are replaced."""
    wire: dict[str, Any] = {"jsonrpc": _VERSION}
    if not isinstance(message, Notification):
        wire["id"] = message.id
    if not isinstance(message, Response):
        wire |= {"method": message.method, "params": message.params}
    elif message.error is None:
        wire["result"] = message.result
    else:
        wire["error"] = {"code": message.error.code, "message": message.error.message}
        if message.error.data is not None:
            wire["error"]["data"] = message.error.data
    try:
        return orjson.dumps(wire, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which Python's strings may have and UTF-8 has not
        return _to_text(wire).encode() + b"\n"
