"""`assert_clean` finds each thing that it promises to find, and nothing else."""

from typing import Any

import pytest

from bot.sandbox import Problem, status
from tests.bot.sandbox.raw import SILENT, raw_client

pytestmark = pytest.mark.asyncio


async def test_a_quiet_bot_is_clean() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)
        await raw.edit(fd.channel_id, message.id)

        fd.assert_clean()


async def test_a_refused_request_is_found_unless_allowed() -> None:
    async with raw_client() as (fd, raw):
        await raw.edit(fd.channel_id, 1)
        with pytest.raises(AssertionError, match=r"refused: PATCH .* -> 404 \(code 10008\)"):
            fd.assert_clean()
        fd.assert_clean(allow=[10008])
        fd.assert_clean(allow=[404])
        fd.assert_clean(allow=[Problem.REFUSED])
        fd.assert_clean(allow=["refused"])
        with pytest.raises(AssertionError):
            fd.assert_clean(allow=[10003])


async def test_an_injected_fault_is_no_fault_of_the_bot() -> None:
    async with raw_client() as (fd, raw):
        fd.faults.next("POST", "/messages$", status(503))
        await raw.post(fd.channel_id)

        fd.assert_clean()


async def test_a_message_above_the_limit_is_found() -> None:
    async with raw_client() as (fd, raw):
        await raw.post(fd.channel_id, "x" * 2001)
        with pytest.raises(AssertionError, match=r"too-long: POST .* 2001 units"):
            fd.assert_clean(allow=[400])


@pytest.mark.parametrize("allowed", [None, {}, {"parse": ["everyone"]}, {"users": ["1"]}])
async def test_a_body_that_may_mention_is_found(allowed: Any) -> None:
    async with raw_client() as (fd, raw):
        await raw.post(fd.channel_id, allowed_mentions=allowed)
        with pytest.raises(AssertionError, match="mentions: POST"):
            fd.assert_clean()


async def test_an_edit_that_may_mention_is_found() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)
        await raw.call("PATCH", f"/channels/{fd.channel_id}/messages/{message.id}", {"content": "@everyone"})
        with pytest.raises(AssertionError, match="mentions: PATCH"):
            fd.assert_clean()


@pytest.mark.parametrize("injected", [False, True])
async def test_an_edit_after_archiving_is_found(injected: bool) -> None:
    async with raw_client() as (fd, raw):
        parent = await raw.post(fd.channel_id)
        await raw.thread(fd.channel_id, parent.id)
        message = await raw.post(parent.id)
        await raw.call("PATCH", f"/channels/{parent.id}", {"archived": True})
        if injected:
            fd.faults.next("PATCH", "/messages/", status(503))
        await raw.edit(parent.id, message.id)
        with pytest.raises(AssertionError, match="after-archive: PATCH"):
            fd.assert_clean()
        fd.assert_clean(allow=["after-archive"])


async def test_the_answer_to_an_interaction_may_not_mention_either() -> None:
    command = {"name": "go", "description": "Goes"}
    async with raw_client() as (fd, raw):
        await raw.call("PUT", f"/applications/{fd.application_id}/commands", [command])
        used = fd.owner.begin_slash(fd.channel_id, "go")
        with pytest.raises(AssertionError, match="unanswered: COMMAND"):
            fd.assert_clean()
        path = f"/interactions/{used.id}/{used.token}/callback"
        await raw.call("POST", path, {"type": 4, "data": {"content": "hi"}})
        with pytest.raises(AssertionError, match="mentions: POST /interactions"):
            fd.assert_clean()
        await raw.call("POST", f"/webhooks/{fd.application_id}/{used.token}", {"content": "x"})
        with pytest.raises(AssertionError, match="mentions: POST /webhooks"):
            fd.assert_clean()


async def test_the_answer_without_mentions_is_clean() -> None:
    command = {"name": "go", "description": "Goes"}
    async with raw_client() as (fd, raw):
        await raw.call("PUT", f"/applications/{fd.application_id}/commands", [command])
        used = fd.owner.begin_slash(fd.channel_id, "go")
        data = {"content": "hi", "allowed_mentions": SILENT}
        await raw.call("POST", f"/interactions/{used.id}/{used.token}/callback", {"type": 4, "data": data})

        fd.assert_clean()
