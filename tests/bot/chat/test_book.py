"""What is remembered of threads."""

from __future__ import annotations

from bot.chat.book import ThreadBook
from bot.chat.inbound import Place


def place(thread: int, channel: int = 10, guild: int = 1) -> Place:
    return Place(guild, thread, channel, owner_id=99)


def test_threads_are_found_by_id_channel_and_guild() -> None:
    """D10: deleting a channel or leaving a server ends its threads."""
    book = ThreadBook()
    for one in (place(100), place(101, channel=11), place(102, channel=12, guild=2)):
        book.remember(one)
    assert place(101, channel=11) == book.find(101)
    assert book.in_channel(10) == (100,)
    assert book.in_guild(1) == (100, 101)


def test_a_forgotten_thread_is_not_found() -> None:
    """D10: what is gone is let go."""
    book = ThreadBook()
    book.remember(place(100))
    book.forget(100)
    book.forget(100)
    assert book.find(100) is None
    assert book.in_channel(10) == ()


def test_the_thread_used_longest_ago_is_forgotten_first() -> None:
    """O2: the book is bounded, and forgetting costs no more than a request to Discord."""
    book = ThreadBook(limit=2)
    for thread in (100, 101, 100, 102):
        book.remember(place(thread))
    assert book.find(101) is None
    assert book.find(100) is not None
    assert book.find(102) is not None
