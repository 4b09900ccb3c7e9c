"""Which addresses are pushed to, and what is shown of them."""

from __future__ import annotations

import pytest

from bot.work.workspace.journal import Refused
from bot.work.workspace.remotes import link_to_open, read_address

HARMFUL = (
    "ext::sh -c id",
    "ext::ssh://host/x",
    "fd::17",
    "evil://host/x",
    "https::evil",
    "-oProxyCommand=id:x",
    "ssh://-oProxyCommand=id/x",
    "ssh://git@-oProxyCommand=id/x",
    "ssh://-oProxyCommand=id@host/x",
    "git@-oProxyCommand=id:x",
    "-u@host:x",
    "git@host:-x",
    "ssh://host name/x",
    "https://host/x\n[core]",
    "https://[::1/x",
    "https://host:port/x",
    "file://host/x",
    "",
)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("url", HARMFUL)
def test_an_address_that_could_run_something_is_not_taken(url: str, ours: bool) -> None:
    """W4, R5: wherever it stands."""
    with pytest.raises(Refused, match="remote"):
        read_address(url, ours=ours)


@pytest.mark.parametrize("url", ["/srv/x.git", "./x", "file:///srv/x.git", "http://host/x", "git://host/x", "~/x.git"])
def test_what_agents_could_have_written_has_to_be_https_or_ssh(url: str) -> None:
    """W4, R5: with a way out for people."""
    if not url.startswith("~"):
        assert read_address(url, ours=True).url == url
    with pytest.raises(Refused, match="put the address itself into the project's `remote`"):
        read_address(url, ours=False)


@pytest.mark.parametrize(
    ("url", "host", "slug"),
    [
        ("https://github.com/o/n.git", "github.com", "o/n"),
        ("https://user:pass@GitHub.com/o/n/", "github.com", "o/n"),
        ("git@github.com:o/n.git", "github.com", "o/n"),
        ("ssh://git@ssh.github.com:443/o/n.git", "github.com", "o/n"),
        ("git@gitlab.example.org:group/sub/n.git", "gitlab.example.org", "group/sub/n"),
        ("https://git.example.org:8443/o/n", "git.example.org", None),
        ("work:o/n", "work", "o/n"),
        ("ssh://git@[::1]:22/o/n", "::1", "o/n"),
        ("git@host:../o/n", "host", None),
    ],
)
def test_an_address_is_shown_as_its_host_and_repository(url: str, host: str, slug: str | None) -> None:
    """W4"""
    for ours in (True, False):
        remote = read_address(url, ours=ours)
        assert (remote.host, remote.slug, remote.url) == (host, slug, url)


@pytest.mark.parametrize(
    ("url", "said", "link"),
    [
        ("git@github.com:o/n", "", "https://github.com/o/n/compare/main...weft/a%23b?expand=1"),
        (
            "https://gitlab.example.org/g/s/n",
            "",
            "https://gitlab.example.org/g/s/n/-/merge_requests/new"
            "?merge_request%5Bsource_branch%5D=weft/a%23b&merge_request%5Btarget_branch%5D=main",
        ),
        (
            "git@codeberg.example:o/n",
            "remote: Create a new pull request:\nremote:   https://codeberg.example/o/n/compare/main...weft\n",
            "https://codeberg.example/o/n/compare/main...weft",
        ),
        ("git@codeberg.example:o/n", "remote: https://evil.example/x https://a@codeberg.example/\n", None),
        ("/srv/n.git", "remote: https://evil.example/x", None),
    ],
)
def test_a_pull_request_can_be_opened_where_its_server_says(url: str, said: str, link: str | None) -> None:
    """W4"""
    assert link_to_open(read_address(url, ours=True), "weft/a#b", "main", said) == link


def test_no_secret_of_an_address_is_told() -> None:
    """W4, R5: as it stands, and as it is decoded; a name alone is a token."""
    remote = read_address("https://user:p%40ss@host/o/n", ours=True)
    said = "fatal: 'https://user:p%40ss@host/o/n' p@ss, of https://other@host/"
    assert remote.scrubbed(said) == "fatal: 'https://host/o/n' …, of https://host/"
    assert read_address("https://t0ken@host/o/n", ours=True).scrubbed("no t0ken") == "no …"
    assert read_address("git@host:o/n", ours=True).scrubbed("git said") == "git said"
