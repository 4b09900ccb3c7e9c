"""Words that are commands or choose what becomes of a message."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.commands import carry_out
from bot.chat.words import Command, Wish, read
from bot.model import QueueMode
from bot.work.ports import Answer, Desk
from tests.bot.work.samples import ALICE


@pytest.mark.parametrize("typed", ["stop", "Stop", "STOP.", "!stop", "stop!", "!Stop."])
def test_stop_typed_alone_is_a_command(typed: str) -> None:
    """Q7"""
    assert read(typed) == Wish(command=Command.STOP)


@pytest.mark.parametrize("typed", ["stop all", "Stop  All", "!stop all", "stop all!", "STOP ALL."])
def test_stop_all_typed_alone_is_a_command(typed: str) -> None:
    """Q7"""
    assert read(typed) == Wish(command=Command.STOP_ALL)


@pytest.mark.parametrize("typed", ["status", "!status", "Status.", "STATUS!"])
def test_status_typed_alone_is_a_command(typed: str) -> None:
    """Q11"""
    assert read(typed) == Wish(command=Command.STATUS)


@pytest.mark.parametrize(
    "typed",
    ["stop it", "please stop", "stop!!", "stop all tests", "stopall", "status of the build", "stop\nnow", "?stop", ""],
)
def test_a_stop_word_that_is_not_alone_is_a_prompt_like_any_other(typed: str) -> None:
    """Q7: nothing is stopped by guess."""
    assert read(typed) == Wish(typed)


@pytest.mark.parametrize("mode", QueueMode)
def test_the_first_word_chooses_the_queue_mode_and_is_cut_off(mode: QueueMode) -> None:
    """Q2"""
    assert read(f"!{mode} fix\nit") == Wish("fix\nit", mode)
    assert read(f"!{mode.upper()}\n fix it") == Wish("fix it", mode)


@pytest.mark.parametrize("mode", QueueMode)
def test_a_mode_alone_is_no_prompt(mode: QueueMode) -> None:
    """Q2"""
    assert read(f"!{mode}") == Wish("", mode)


@pytest.mark.parametrize(
    "typed", ["!queued fix it", "!queue: fix it", "queue fix it", "now !queue fix it", "! queue x"]
)
def test_only_the_whole_word_at_the_very_start_chooses_a_mode(typed: str) -> None:
    """Q2"""
    assert read(typed) == Wish(typed)


@given(st.text().map(str.strip))
def test_what_is_no_word_of_ours_stays_as_it_is(typed: str) -> None:
    """Q2, Q7: a prompt is never changed but for its mode."""
    wish = read(typed)
    assert wish.command is not None or typed.endswith(wish.text)
    assert wish.mode is not None or wish.command is not None or wish.text == typed


def test_a_stop_that_was_typed_is_about_nothing_newer_than_itself() -> None:
    """Q7."""
    asked: list[object] = []

    class Asked:
        def stop(self, *args: object, **fields: object) -> Answer:
            asked.append((args, fields))
            return Answer("Stopping.", accepted=True)

    carry_out(Command.STOP, cast("Desk", Asked()), 100, ALICE, 55)
    assert asked == [((100, ALICE), {"before": 55})]
