"""How files are told and divided into messages (F7)."""

from __future__ import annotations

from acp.handed import HandedLink
from bot.reply.sanitise import units
from bot.work.handouts import batches, file_messages
from bot.work.outfolder import Collected, Left, Taken


def test_a_message_holds_ten_files_and_so_many_bytes() -> None:
    files = [Taken(f"{number}", 10) for number in range(12)]
    assert [len(batch) for batch in batches(files, 1000)] == [10, 2]
    assert [len(batch) for batch in batches(files, 35)] == [3, 3, 3, 3]
    assert [len(batch) for batch in batches([Taken("large", 99), Taken("small", 1)], 35)] == [1, 1]


def test_nothing_is_no_message() -> None:
    assert file_messages(Collected(), (), 0, 1000) == ()


def test_many_lines_are_cut_and_never_too_long_for_a_message() -> None:
    left = tuple(Left("x" * 300, (number, 0), "is empty", ".weft/out/1") for number in range(40))
    links = [HandedLink("n" * 300, f"https://example.org/{'u' * 400}{number}") for number in range(20)]
    messages = file_messages(Collected(left=left), links, 3, 1000)
    assert all(units(message.text) <= 2000 for message in messages)
    shown = "\n".join(message.text for message in messages)
    assert "30 more can't be posted" in shown
    assert "too much for one turn: 3 more files" in shown
    assert shown.count("🔗") == 20


def test_only_addresses_of_the_web_become_links() -> None:
    links = [HandedLink("a", "file:///etc/passwd"), HandedLink("b", "https://a.b/> <@1>"), HandedLink("", "http://a.b")]
    (message,) = file_messages(Collected(), links, 0, 1000)
    assert message.text.splitlines() == [
        "🔗 `a`: `file:///etc/passwd`",
        "🔗 `b`: `https://a.b/> <@1>`",
        "🔗 `a link`: <http://a.b>",
    ]
