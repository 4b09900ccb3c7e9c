"""Fetches attachments from Discord's CDN, as streams of bytes that are counted.

Nothing that an attachment says of itself is believed: its address has to be one of Discord's, its size is what arrives.
The requests are anonymous, with a session of their own: the bot's token never goes to the CDN. What becomes of the
bytes is for the caller, and how long it all may take.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import yarl

from bot.model import Attachment
from bot.work.ports import DownloadFailed, Save, TryDownloadAgain

HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
BLOCK = 256 * 1024
"""Bytes that are handed on at once: each block costs the caller a worker thread's attention."""

TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=20)
_HTTPS = 443
_OK, _FORBIDDEN, _NOT_FOUND, _SERVER_ERRORS, _TOO_MANY = 200, 403, 404, 500, 429
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_CLOCKS_APART = 30.0  # seconds: an address is renewed this early, as our clock may be slower than the CDN's

NOT_DISCORDS = "its address is not Discord's"
GONE = "Discord no longer has it"
NOT_SENT = "Discord did not send it"


class _Expired(Exception):
    """The address is not good any more; the file may have another one."""


@dataclass(frozen=True, slots=True)
class Downloads:
    """Fetches files.

    Attributes:
        renew: asks Discord for an attachment's message anew; None: it has that file no more.
        api_url: the REST address that stands in for Discord's, whose host may serve files, too.
        wall: seconds of the wall clock; addresses expire by it.
    """

    renew: Callable[[Attachment], Awaitable[Attachment | None]]
    api_url: str | None = None
    wall: Callable[[], float] = time.time

    async def fetch(self, attachment: Attachment, save: Save, limit: int) -> None:
        """Hand the bytes of an attachment to ``save``, block by block; more than ``limit`` of them are refused.

        Raises:
            DownloadFailed: it can't be had; what was saved so far is not all of it.
            TryDownloadAgain: it may be had at the next try.
            Exception: what ``save`` raises.
        """
        expired = self._expired(attachment)
        if expired:
            attachment = await self._renewed(attachment)
        try:
            await self._get(attachment, save, limit)
        except _Expired as exc:
            if expired:
                # It was new already, so a third address would not help.
                raise DownloadFailed(GONE) from exc
            try:
                await self._get(await self._renewed(attachment), save, limit)
            except _Expired as again:
                raise DownloadFailed(GONE) from again

    def _expired(self, attachment: Attachment) -> bool:
        """Return whether the address says that its time is over, by its parameter ``ex`` (seconds, hexadecimal)."""
        try:
            until = int(yarl.URL(attachment.url).query.get("ex", ""), 16)
        except ValueError:
            return False
        return until < self.wall() + _CLOCKS_APART

    async def _renewed(self, attachment: Attachment) -> Attachment:
        renewed = await self.renew(attachment)
        if renewed is None:
            raise DownloadFailed(GONE)
        return renewed

    async def _get(self, attachment: Attachment, save: Save, limit: int) -> None:
        url = self._checked(attachment.url)
        # What a proxy or an environment adds for other hosts has no place here: no cookies, no .netrc, no encoding
        # that would unpack a small stream into a large one.
        async with aiohttp.ClientSession(
            timeout=TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        ) as session:
            for _ in range(_MOST_REDIRECTS + 1):
                # One by one, and each address checked before it is asked: a redirect must not lead into our own
                # network.
                async with _asked(session, url) as response:
                    if response.status not in _REDIRECTS:
                        await _receive(response, save, limit)
                        return
                    url = self._redirected(url, response)
        raise DownloadFailed(NOT_SENT)

    def _redirected(self, url: yarl.URL, response: aiohttp.ClientResponse) -> yarl.URL:
        try:
            return self._checked(str(url.join(yarl.URL(response.headers.get("Location", "")))))
        except ValueError as exc:
            raise DownloadFailed(NOT_DISCORDS) from exc

    def _checked(self, address: str) -> yarl.URL:
        """Return the address if files may be fetched from there; looked at again after each redirect."""
        own = yarl.URL(self.api_url or "")
        try:
            url = yarl.URL(address)
            # As it is asked of the network: how a name reads, and whether it can be read at all, is another matter.
            place = url.scheme, url.raw_host, url.port
        except ValueError as exc:
            raise DownloadFailed(NOT_DISCORDS) from exc
        known = place in {("https", host, _HTTPS) for host in HOSTS}
        known = known or (bool(self.api_url) and place == (own.scheme, own.raw_host, own.port))
        if known and url.raw_user is None and url.raw_password is None:
            return url
        raise DownloadFailed(NOT_DISCORDS)


@asynccontextmanager
async def _asked(session: aiohttp.ClientSession, url: yarl.URL) -> AsyncIterator[aiohttp.ClientResponse]:
    try:
        response = await session.get(url, allow_redirects=False)
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise TryDownloadAgain(NOT_SENT) from exc
    async with response:
        yield response


async def _receive(response: aiohttp.ClientResponse, save: Save, limit: int) -> None:
    # An address whose time is over reads like a file that is gone: only a new address tells which it is.
    if response.status in (_FORBIDDEN, _NOT_FOUND):
        raise _Expired
    if response.status == _TOO_MANY or response.status >= _SERVER_ERRORS:
        raise TryDownloadAgain(NOT_SENT)
    if response.status != _OK or response.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadFailed(NOT_SENT)
    # This size is not believed, either, but spares a download that would be of no use.
    if (response.content_length or 0) > limit:
        raise too_large(limit)
    taken, block = 0, bytearray()
    while chunk := await _next(response):
        taken += len(chunk)
        # Before it is kept: nothing beyond the limit reaches memory or disk.
        if taken > limit:
            raise too_large(limit)
        block += chunk
        if len(block) >= BLOCK:
            await save(bytes(block))
            block.clear()
    if block:
        await save(bytes(block))


async def _next(response: aiohttp.ClientResponse) -> bytes:
    """Return the next bytes, b"" at the end; apart from `save`, whose errors are not Discord's."""
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise TryDownloadAgain(NOT_SENT) from exc


def too_large(limit: int) -> DownloadFailed:
    """Return what is said of a file that has more than ``limit`` bytes."""
    return DownloadFailed(f"it is larger than {limit / 2**20:,.3g} MiB")
