"""Where attachments are served: with a signature that expires, and with the faults that a test asks for.

They come from the page's own origin, so a browser must not take any of them for a page, a script or a style.

The mutable state is the faults by the name of a file, and the requests that came.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import anyio
from aiohttp import web
from multidict import CIMultiDict

from bot.sandbox import objects
from bot.sandbox.model import Attachment
from bot.sandbox.state import State

_BLOCK = b"\0" * 65_536
# Shown in place. All else is a download of bytes; pages, SVG and PDF can run scripts.
_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "text/plain"})
_PLAYED = ("audio/", "video/")
_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class CdnRequest:
    name: str
    headers: CIMultiDict[str] = field(repr=False)
    address: str


@dataclass(slots=True)
class _Fault:
    status: int
    headers: Mapping[str, str]
    left: int


class Cdn:
    """Serves the files of messages and of commands' options.

    Attributes:
        most_at_once: how many files it was sending at the same time.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._faults: dict[str, _Fault] = {}
        self._endless: set[str] = set()
        self._hanging: dict[str, int] = {}
        self.requests: list[CdnRequest] = []
        self._busy = 0
        self.most_at_once = 0

    def answer(self, name: str, status: int, headers: Mapping[str, str] | None = None, times: int = 1) -> None:
        """Answer the next requests for a file with a status, such as a redirect."""
        self._faults[name] = _Fault(status, headers or {}, times)

    def endless(self, name: str) -> None:
        """Serve a file that never ends, without telling its size."""
        self._endless.add(name)

    def hang(self, name: str, after: int = 0) -> None:
        """Stop in the middle of a file, after so many bytes."""
        self._hanging[name] = after

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a file."""
        name = request.match_info["name"]
        self.requests.append(CdnRequest(name, request.headers.copy(), str(request.rel_url)))
        fault = self._faults.get(name)
        # Before the signature: tests of downloads ask for an answer whatever the address is.
        if fault is not None and fault.left > 0:
            fault.left -= 1
            return web.Response(status=fault.status, headers=fault.headers)
        if not objects.may_be_read(self._state, request.rel_url.raw_path, request.query):
            return web.Response(status=404, text="This content is no longer available.")
        attachment = self._find(request.match_info["attachment"])
        if attachment is None:
            return web.Response(status=404)
        self._busy += 1
        self.most_at_once = max(self.most_at_once, self._busy)
        try:
            return await self._send(request, attachment)
        finally:
            self._busy -= 1

    def _find(self, wanted: str) -> Attachment | None:
        file_id = int(wanted) if wanted.isascii() and wanted.isdigit() else 0
        # By id alone, as the signed path holds the rest.
        return self._state.files.get(file_id) or self._state.handed.get(file_id)

    async def _send(self, request: web.Request, attachment: Attachment) -> web.StreamResponse:
        if attachment.name not in self._endless and attachment.name not in self._hanging:
            return _part(request, attachment)
        response = web.StreamResponse(headers=_headers(attachment))
        await response.prepare(request)
        try:
            while attachment.name in self._endless:
                await response.write(_BLOCK)
            await response.write(attachment.content[: self._hanging[attachment.name]])
            # The server does not cancel a handler whose client has left.
            while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
                await anyio.sleep(0.01)
        except ConnectionError:
            pass
        return response


def _part(request: web.Request, attachment: Attachment) -> web.Response:
    """The whole file, or the bytes that a player asks for: some play nothing without."""
    headers, size = {**_headers(attachment), "Accept-Ranges": "bytes"}, len(attachment.content)
    try:
        wanted = request.http_range
    except ValueError:
        # As one that can't be met, which is answered with 416 below.
        wanted = slice(size, None)
    if wanted.start is None and wanted.stop is None:
        return web.Response(body=attachment.content, headers=headers)
    start, stop, _ = wanted.indices(size)
    if start >= stop:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return web.Response(status=206, body=attachment.content[start:stop], headers=headers)


def _headers(attachment: Attachment) -> dict[str, str]:
    kind = attachment.content_type.partition(";")[0].strip().lower()
    if kind in _SHOWN or kind.startswith(_PLAYED):
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        return {**_HEADERS, "Content-Type": kind + charset, "Content-Disposition": "inline"}
    disposition = f"attachment; filename*=UTF-8''{quote(attachment.name, safe='')}"
    return {**_HEADERS, "Content-Type": "application/octet-stream", "Content-Disposition": disposition}
