from __future__ import annotations

import pytest

from bot.ops.database_address import database_problem, database_secrets


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://weft@db.example/weft",
        "postgres://weft:p%40ss@db.example:5433/weft?sslmode=verify-full",
        "postgresql:///weft?host=/run/postgresql",
        "postgresql://weft@[::1]:5432/weft",
        "postgresql://weft@one:5432,two:5433/weft?target_session_attrs=read-write",
        "postgresql://db?dbname=weft",
    ],
)
def test_an_address_that_the_driver_understands_is_none_to_complain_about(url: str) -> None:
    """R9"""
    assert database_problem(url) == ""


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("weft.db", "this is not the address of a PostgreSQL database"),
        ("mysql://u:canary@h/d", "this is not the address of a PostgreSQL database"),
        ("postgresql+psycopg://u:canary@h/d", "an address names no driver"),
        ("postgresql://u:canary@h", "it names no database"),
        ("postgresql://u:canary@h:port/d", "the port is not a number"),
        ("postgresql://u:canary@h:70000/d", "the port is not a number"),
        ("postgresql://u:can#ary@h/d", "write %23"),
        ("postgresql://u:can@ary@h/d", "write %40"),
        ("postgresql://u:can/ary@h/d", "and %2F for a /"),
        ("postgresql://u:can ary@h/d", "write %20"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_without_a_word_of_it(url: str, problem: str) -> None:
    """R9, R5"""
    told = database_problem(url)
    assert problem in told
    assert "can" not in told.replace("names no driver", "")


def test_a_password_is_a_secret_wherever_it_stands() -> None:
    """R5, R9"""
    assert database_secrets("postgresql://weft@db/weft") == []
    there = "postgresql:///weft?host=db&password=p%23w"
    assert database_secrets(there) == [there, "p%23w", "p#w"]
    there = "postgresql://weft@db/weft?sslpassword=of+the%20key"
    assert database_secrets(there) == [there, "of+the%20key", "of+the key"]
