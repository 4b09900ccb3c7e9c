"""What `/schedules` shows (A5)."""

from __future__ import annotations

from dataclasses import replace

from bot.reply.sanitise import units
from bot.work.schedules.listing import NONE, PAGE, Reader, page_of
from pool.store import KeptSchedule
from tests.pool.samples import schedule

NOW = 1_796_040_000


def reader(**fields: object) -> Reader:
    usual = Reader(100, 11, "UTC", NOW, lambda row: row.author_id == 11, lambda text: text.replace("secret", "•••"))
    return replace(usual, **fields)  # type: ignore[arg-type]


def row(number: int = 1, **fields: object) -> KeptSchedule:
    usual = {
        "thread_id": 100, "author_id": 11, "author_name": "alice", "cron": "0 9 * * *", "zone": "UTC",
        "prompt": "look", "paused": "", "due_at": NOW + 60,
    }  # fmt: skip
    return schedule(number, **(usual | fields))


def test_each_schedule_says_when_it_is_next_where_and_whose_it_is() -> None:
    """A5: what is plain from the place and the reader is left out."""
    rows = [
        row(1),
        row(2, zone="Asia/Tokyo", thread_id=200, author_id=12, author_name="bo`b", prompt="a secret `x`\nmore"),
        row(3, paused="paused by *eve* @everyone", due_at=0),
    ]
    answer = page_of(rows, 0, reader())
    head, first, what, second, other, third, _ = answer.text.splitlines()
    assert head == "**Schedules** · new ones here use `UTC` time"
    assert first.startswith("1. `0 9 * * *` · next ")
    assert first.endswith(f"(<t:{NOW + 60}:R>)")
    assert what == "`look`"
    assert second.startswith("2. `0 9 * * *` `Asia/Tokyo` · next ")
    assert second.endswith(" · <#200> · by `boˋb`")
    assert "secret" not in other
    assert third == "3. `0 9 * * *` · ⏸️ paused by \\*eve\\* \\@everyone"
    assert [button.label for button in answer.buttons] == ["Pause 1", "Remove 1", "Resume 3", "Remove 3"]
    assert [button.row for button in answer.buttons] == [0, 0, 1, 1]


def test_a_full_page_fits_a_message_and_its_rows_of_buttons() -> None:
    """A5: with the longest of everything."""
    long = {"prompt": "x" * 2000, "author_name": "y" * 100, "cron": "1," * 45 + "59 * * * *", "thread_id": 2**62}
    rows = [row(number, paused="z" * 300, author_id=12, **long) for number in range(1, 10)]
    pages = [page_of(rows, page, reader(may_change=lambda _row: True)) for page in range(3)]
    assert all(units(page.text) <= 2000 for page in pages)
    assert [len(page.buttons) for page in pages] == [2 * PAGE + 2, 2 * PAGE + 2, 4]
    assert max(button.row or 0 for page in pages for button in page.buttons) == 4
    assert "page 2 of 3" in pages[1].text
    assert len({button.custom_id for button in pages[1].buttons}) == len(pages[1].buttons)


def test_a_page_that_is_gone_becomes_the_last_and_none_says_how_to_make_one() -> None:
    """A5"""
    rows = [row(number) for number in range(1, 6)]
    assert page_of(rows, 9, reader()).text == page_of(rows, 1, reader()).text
    assert page_of([], 3, reader(), "Removed.").text == f"Removed.\n{NONE}"
