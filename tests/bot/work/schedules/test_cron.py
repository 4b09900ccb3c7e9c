"""When schedules fire: what can be read, what is too often or never, and what happens when clocks change (A5)."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.work.schedules.cron import (
    CHOICES,
    MOST_MISSED,
    SHORTEST,
    NotATimetable,
    Timetable,
    read,
    suggested,
    told,
)

BERLIN, HOWE = "Europe/Berlin", "Australia/Lord_Howe"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def times(expression: str, since: str, zone: str = BERLIN, count: int = 3) -> list[str]:
    """The next times, by the clocks of the zone, with what they are ahead of UTC."""
    found, now = [], at(since, zone)
    for _ in range(count):
        following = Timetable(expression, zone).after(now)
        assert following is not None
        assert following > now
        now = following
        found.append(datetime.fromtimestamp(now, ZoneInfo(zone)).strftime("%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("0 9 * * 1-5", ["30 09:00+0100", "01 09:00+0100", "02 09:00+0100"]),
        ("0 9 * * MON-FRI", ["30 09:00+0100", "01 09:00+0100", "02 09:00+0100"]),
        ("*/20 * * * *", ["28 13:00+0100", "28 13:20+0100", "28 13:40+0100"]),
        ("30 8,18 * * *", ["28 18:30+0100", "29 08:30+0100", "29 18:30+0100"]),
        ("@hourly", ["28 13:00+0100", "28 14:00+0100", "28 15:00+0100"]),
        ("@Daily", ["29 00:00+0100", "30 00:00+0100", "01 00:00+0100"]),
        ("@weekly", ["29 00:00+0100", "06 00:00+0100", "13 00:00+0100"]),
        ("0 0 29 2 *", ["29 00:00+0100", "29 00:00+0100", "29 00:00+0100"]),
        ("0 12 L * *", ["30 12:00+0100", "31 12:00+0100", "31 12:00+0100"]),
    ],
)
def test_an_expression_has_these_times(expression: str, following: list[str]) -> None:
    """A5"""
    read(expression, BERLIN, at("2026-11-28 12:50"))
    assert times(expression, "2026-11-28 12:50") == following


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "five fields"),
        ("now and then", "five fields"),
        ("0 9 * *", "five fields"),
        ("0 0 9 * * 1", "five fields"),  # seconds are none of ours
        ("60 9 * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 9 32 * *", "bad day-of-month"),
        ("0 9 30 2 *", "bad day-of-month"),
        ("0 9 * 13 *", "bad month"),
        ("0 9 * * 8", "bad day-of-week"),
        ("@reboot", "`@reboot`, only `@hourly`"),
        ("@every 5m", "only `@hourly`"),
        ("* * * * *", "too often: leave at least 5 minutes"),
        ("*/4 * * * *", "too often"),
        ("0,58 * * * *", "too often"),
        ("58 23,0 * * *", None),
        ("0,59 0,23 * * *", "too often"),
        ("1,5 9 * * 1", "too often"),
        ("*/5 * * * *", None),
        ("1/1/1 * * * *", "five fields"),
        ("`*` * * * *", "five fields"),
        ("1," * 60 + "2 * * * *", "too long"),
    ],
)
def test_what_can_not_be_used_is_refused_with_what_to_write(expression: str, said: str | None) -> None:
    """A5: never oftener than every five minutes, not even over midnight; and not what never comes."""
    if said is None:
        read(expression, BERLIN, at("2026-11-28 12:50"))
        return
    with pytest.raises(NotATimetable, match=re.escape(said)):
        read(expression, BERLIN, at("2026-11-28 12:50"))


def test_a_day_that_never_comes_is_refused() -> None:
    """A5: also where the library finds out only by looking through fifty years."""
    with pytest.raises(NotATimetable, match="never comes"):
        read("0 0 */31 2 0#5", BERLIN, 0.0)  # the first, if it is a fifth Sunday


def test_a_time_zone_that_is_not_known_is_refused() -> None:
    with pytest.raises(NotATimetable, match="time zone `Mars/Olympus`"):
        read("0 9 * * *", "Mars/Olympus", 0.0)


@pytest.mark.parametrize(
    ("expression", "since", "zone", "following"),
    [
        # The clocks go forward at 2:00: a job in the hour that is left out runs right after it, once.
        ("30 2 * * *", "2027-03-27 12:00", BERLIN, ["28 03:00+0200", "29 02:30+0200", "30 02:30+0200"]),
        ("0 3 * * *", "2027-03-27 12:00", BERLIN, ["28 03:00+0200", "29 03:00+0200", "30 03:00+0200"]),
        ("*/30 * * * *", "2027-03-28 01:10", BERLIN, ["28 01:30+0100", "28 03:00+0200", "28 03:30+0200"]),
        # They go back at 3:00: a job in the hour that comes twice runs in the first, and one by intervals in both.
        ("30 2 * * *", "2027-10-30 12:00", BERLIN, ["31 02:30+0200", "01 02:30+0100", "02 02:30+0100"]),
        ("30 * * * *", "2027-10-31 01:40", BERLIN, ["31 02:30+0200", "31 02:30+0100", "31 03:30+0100"]),
        # By half an hour.
        ("15 2 * * *", "2027-10-02 12:00", HOWE, ["03 02:30+1100", "04 02:15+1100", "05 02:15+1100"]),
        ("45 1 * * *", "2027-04-03 12:00", HOWE, ["04 01:45+1100", "05 01:45+1030", "06 01:45+1030"]),
    ],
)
def test_where_the_clocks_change_nothing_is_left_out_and_nothing_runs_twice(
    expression: str, since: str, zone: str, following: list[str]
) -> None:
    """A5"""
    assert times(expression, since, zone) == following


def test_in_the_hour_that_comes_again_a_job_that_has_run_is_not_due_once_more() -> None:
    """A5: half past two was an hour ago, although the clocks show ten past two."""
    now = at("2027-10-31 02:10", fold=1)
    following = Timetable("30 2 * * *", BERLIN).after(now)
    assert following is not None
    assert following == at("2027-11-01 02:30")


@given(st.integers(0, 40 * 365 * 24 * 3600), st.sampled_from(["Europe/Berlin", "Africa/Cairo", "America/Sao_Paulo"]))
def test_the_next_time_always_lies_ahead(now: int, zone: str) -> None:
    """A5: wherever and whenever, or the same time would be due again and again."""
    for _, expression in CHOICES:
        following = Timetable(expression, zone).after(now)
        assert following is not None
        assert now < following <= now + 32 * 24 * 3600


@given(st.tuples(*(st.from_regex(r"\A(\*|[0-9]{1,2})(-[0-9]{1,2})?(/[0-9]{1,2})?(,[0-9]{1,2})?\Z") for _ in range(5))))
def test_whatever_is_read_comes_and_never_too_often(fields: tuple[str, ...]) -> None:
    """A5: the distance that is promised is that of the times that really come."""
    expression, now = " ".join(fields), at("2026-11-28 12:50", "UTC")
    try:
        found = read(expression, "UTC", now)
    except NotATimetable:
        return
    due: list[int] = []
    for _ in range(5):
        following = found.after(due[-1] if due else now)
        assert following is not None
        due.append(following)
    assert min(later - earlier for earlier, later in pairwise(due)) >= SHORTEST * 60


def test_times_that_passed_are_counted_up_to_a_bound() -> None:
    """A5: so that a year without Weft is counted in no time."""
    hourly, due = Timetable("@hourly", "UTC"), int(at("2026-11-28 12:00", "UTC"))
    assert hourly.passed(due, due) == (due, 1)
    assert hourly.passed(due, due + 3599) == (due, 1)
    assert hourly.passed(due, due + 3 * 3600 + 1) == (due + 3 * 3600, 4)
    year = 365 * 24 * 3600
    assert hourly.passed(due, due + year + 1800) == (due + year, MOST_MISSED + 1)
    weekdays = Timetable("0,30 9-17 * * 1-5", "Europe/Berlin")
    begun, now = int(at("2026-03-02 09:00", "Europe/Berlin")), at("2026-11-29 20:00", "Europe/Berlin")
    assert weekdays.passed(begun, now) == (at("2026-11-27 17:30", "Europe/Berlin"), MOST_MISSED + 1)


def test_times_are_told_by_the_day_of_the_week_and_from_a_week_on_with_their_date() -> None:
    now = at("2026-11-28 12:50")
    assert told(at("2026-11-30 09:00"), BERLIN, now) == "Mon 09:00"
    assert told(at("2026-12-07 09:00"), BERLIN, now) == "Mon 7 Dec 09:00"
    assert told(at("2028-02-29 09:00"), BERLIN, now) == "29 Feb 2028 09:00"
    assert told(at("2026-11-30 09:00"), "Asia/Tokyo", now) == "Mon 17:00"


@pytest.mark.parametrize(("expression", "zone"), [("0 9 * * *", "Mars/Olympus"), ("0 25 * * *", BERLIN)])
def test_what_was_kept_and_can_not_be_read_any_more_says_so(expression: str, zone: str) -> None:
    """A5: and it is told when it was due all the same."""
    with pytest.raises(NotATimetable, match="can no longer read"):
        Timetable(expression, zone).after(0.0)
    assert told(0, "Mars/Olympus", 0.0) == "01 Jan 00:00 UTC"


def test_suggestions_say_when_each_is_next_and_what_is_typed_comes_first() -> None:
    """A5"""
    now = at("2026-11-28 12:50")
    assert suggested("", BERLIN, now)[0] == ("Every weekday at 9:00 · next: Mon 09:00", "0 9 * * 1-5")
    assert [value for _, value in suggested("", BERLIN, now)] == [value for _, value in CHOICES]
    assert suggested(" 15  7 * * 2 ", BERLIN, now) == [("15 7 * * 2 · next: Tue 07:15", "15 7 * * 2")]
    assert [value for _, value in suggested("monday", BERLIN, now)] == ["0 9 * * 1"]
    assert suggested("* * * * *", BERLIN, now) == []


def test_a_suggestion_that_was_typed_in_full_is_what_it_says() -> None:
    """A5: whoever types it, and chooses nothing, means the same."""
    for label, expression in islice(CHOICES, 3):
        assert read(label.upper(), BERLIN, 0.0).expression == expression
