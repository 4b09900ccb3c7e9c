"""The page in the browser: its files, from the package, and the headers that bound what it may do.

What it shows it asks for as a user's client does, from the other routes. Files are read anew at each request, so that
a change of one takes no restart.
"""

import hashlib
import re
from importlib import resources
from importlib.resources.abc import Traversable

import anyio.to_thread
from aiohttp import web

_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "mjs": "text/javascript",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
_TEXT = ("text/", "application/json", "image/svg+xml")
# No "..", no hidden file, no separator of any system: what a part of a path can be called in the package, and no more.
_PART = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_@.-]*")
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
    "connect-src 'self' {websocket}",
    "font-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    # The two that the libraries make; what is not sanitised cannot become markup.
    "trusted-types lit-html dompurify",
)


class Page:
    """Serves the files below `page/`."""

    def __init__(self) -> None:
        self._files: Traversable = resources.files("bot.sandbox") / "page"

    def install(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_get("/", self._index)
        app.router.add_get("/page/{path:.+}", self._file)

    async def _index(self, request: web.Request) -> web.Response:
        if request.host.startswith("localhost"):
            # One origin for all: addresses of attachments and of the gateway name 127.0.0.1. Browsers keep the
            # fragment, which has the key.
            raise web.HTTPFound("http://127.0.0.1" + request.host.removeprefix("localhost") + "/")
        return await self._serve(request, "index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return await self._serve(request, request.match_info["path"])

    async def _serve(self, request: web.Request, path: str) -> web.Response:
        kind = _TYPES.get(path.rpartition(".")[2])
        # By what is allowed: a list of what is not would miss something.
        if kind is None or not all(_PART.fullmatch(part) for part in path.split("/")):
            raise web.HTTPNotFound
        # In a thread: a slow disk must not hold up the gateway, which is on the same loop.
        content = await anyio.to_thread.run_sync(self._read, path, abandon_on_cancel=True)
        if content is None:
            raise web.HTTPNotFound
        tag = hashlib.sha256(content).hexdigest()[:32]
        headers = {**_headers(request.host), "ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        if any(one.value in (tag, "*") for one in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if kind.startswith(_TEXT) else None
        return web.Response(body=content, content_type=kind, charset=charset, headers=headers)

    def _read(self, path: str) -> bytes | None:
        found = self._files.joinpath(*path.split("/"))
        return found.read_bytes() if found.is_file() else None


def _headers(host: str) -> dict[str, str]:
    return {
        # Not every browser takes a websocket as part of 'self'.
        "Content-Security-Policy": "; ".join(_POLICY).format(websocket=f"ws://{host}"),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
