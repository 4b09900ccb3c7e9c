"""Where a branch is pushed to: which addresses are taken, and what they are called in public (W4). Pure.

An address from weft.toml is the operator's, and may be any that git can push to without running a program of its name.
One that stands in a repository's configuration may have been written by an agent: only https and ssh are taken then.
Addresses may hold passwords, so only a host and a path are ever shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from bot.reply.sanitise import inline_code
from bot.work.workspace.journal import Refused

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""A remote's name in a repository's configuration; everything else is an address."""

_SCHEMES = ("https", "ssh", "http", "git", "file")
_FROM_CONFIG = ("https", "ssh")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_SHORT_SSH = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>[^@/:]+):(?P<path>(?!:).+)")
_SLUG = re.compile(r"[A-Za-z0-9_][\w.-]*(?:/[\w.-]+)+")
_SECRET = re.compile(r"//[^/\s@]*@")
_ALIASES = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}
"""Hosts that only take ssh, where a firewall lets nothing else through."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where to push to.

    Attributes:
        url: the address for git, which may hold a password.
        scheme: how it is reached.
        host: whose it is, without a port; None: a directory.
        slug: ``owner/name`` of the repository there, where it looks like that.
        ours: it stands in weft.toml.
    """

    url: str
    scheme: str
    host: str | None = None
    slug: str | None = None
    ours: bool = False

    @property
    def shown(self) -> str:
        """What people are told of it."""
        return inline_code(self.host or "that directory", 100)

    def scrubbed(self, text: str) -> str:
        """Return what a program said, without what is secret in the address."""
        split = urlsplit(self.url if "://" in self.url else "")
        # A name alone is a token, over https.
        # The password alone goes, where there is one: a user's name such as `git` stands in many sentences.
        secret = split.password or (split.username if split.scheme in ("https", "http") else None)
        if secret:
            text = text.replace(secret, "…").replace(unquote(secret), "…")
        return _SECRET.sub("//", text)


def read_address(url: str, *, ours: bool) -> Remote:
    """Return an address that is safe to give to git.

    Raises:
        Refused: it is not.
    """
    if not url or not url.isprintable() or url.startswith("-") or "\\" in url:
        raise Refused("the remote's address can't be read")
    if "://" in url:
        remote = _with_scheme(url, ours=ours)
    elif ours and url.startswith(("/", "./", "../", "~/")):
        remote = Remote(url, "file", ours=True)
    else:
        match = _SHORT_SSH.fullmatch(url)
        # `ext::sh -c …` and the like have a program of that name run.
        if match is None or "::" in url or not _fits(match["host"], match["user"], match["path"]):
            raise Refused(_not_taken(ours))
        remote = Remote(url, "ssh", _known(match["host"]), _slug(match["path"]), ours)
    return remote


def _with_scheme(url: str, *, ours: bool) -> Remote:
    try:
        split = urlsplit(url)
        host, user, port = split.hostname, split.username, split.port
    except ValueError as exc:
        raise Refused("the remote's address can't be read") from exc
    if split.scheme not in (_SCHEMES if ours else _FROM_CONFIG):
        raise Refused(_not_taken(ours))
    if split.scheme == "file":
        if host or not split.path.startswith("/"):
            raise Refused(_not_taken(ours))
        return Remote(url, "file", ours=True)
    # Over https a name may be anything, as a token is.
    if host is None or not _fits(host, user if split.scheme == "ssh" else None, split.path):
        raise Refused(_not_taken(ours))
    # Its pages are at another port than is known here, or not encrypted.
    elsewhere = split.scheme in ("http", "git") or (split.scheme == "https" and port not in (None, 443))
    return Remote(url, split.scheme, _known(host), None if elsewhere else _slug(split.path), ours)


def _fits(host: str, user: str | None, path: str) -> bool:
    """Return whether nothing of it could be taken for an option, or for more than one word."""
    plain = _HOST.fullmatch(host) or _HOST.fullmatch(f"[{host}]")
    return bool(plain and (user is None or _USER.fullmatch(user)) and not path.startswith("-") and "'" not in path)


def _not_taken(ours: bool) -> str:
    if ours:
        return "the project's `remote` is of a kind that I don't push to: give an https or ssh address, or a directory"
    return (
        "the address of that remote in the repository is neither https nor ssh, and agents could have written it: put "
        "the address itself into the project's `remote`"
    )


def _known(host: str) -> str:
    return _ALIASES.get(host.lower(), host.lower())


def _slug(path: str) -> str | None:
    slug = path.strip("/").removesuffix(".git").strip("/")
    return slug if _SLUG.fullmatch(slug) and ".." not in slug else None


def link_to_open(remote: Remote, branch: str, base: str, said: str) -> str | None:
    """Return where to open a pull request; None: that isn't known.

    Args:
        said: what the server said when it was pushed to, which often has a link.
    """
    host, slug = remote.host, remote.slug
    if host is None:
        return None
    if slug and "gitlab" in host:
        query = f"merge_request[source_branch]={quote(branch)}&merge_request[target_branch]={quote(base)}"
        return f"https://{host}/{slug}/-/merge_requests/new?{quote(query, safe='=&/%')}"
    if slug and "github" in host and slug.count("/") == 1:
        return f"https://{host}/{slug}/compare/{quote(base)}...{quote(branch)}?expand=1"
    for word in re.findall(r"https://[^\s\"'<>`|]+", said):
        try:
            split = urlsplit(word)
        except ValueError:
            continue
        # Of this very server, and nobody's name in it.
        if split.hostname == host and "@" not in split.netloc:
            return str(word)[:500]
    return None
