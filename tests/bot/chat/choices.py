"""Choices of a session for the socket tests: one model, which everybody whom the chat lets in may choose."""

from __future__ import annotations

from dataclasses import replace

from acp.session_options import Kind
from bot.model import Actor, ThreadPlace
from bot.reply.port import Select, SelectChoice
from bot.work.options.pickers import digest
from bot.work.options.service import SessionChoices
from bot.work.ports import Answer

MENU, CHOSEN_MODEL = Answer("Model is `A`.", accepted=True), Answer("Model: `B`.", accepted=True)


class FakeChoices(SessionChoices):
    """Offers one model, and takes whatever is chosen."""

    def __init__(self) -> None:
        pass

    def menu(self, place: ThreadPlace, wanted: Kind | str | None, page: int | None = None) -> Answer:
        del wanted, page
        menu = Select(f"weft:opt:{place.thread_id}:{digest('model')}", (SelectChoice("B", digest("b")),))
        return replace(MENU, selects=(menu,))

    def suggest(self, place: ThreadPlace, wanted: Kind | str | None) -> list[tuple[str, str]]:
        del place, wanted
        return [("B", "b")]

    def choose(
        self, place: ThreadPlace, wanted: Kind | str, said: str, by: Actor, *, announced: bool = False
    ) -> Answer:
        del place, wanted, said, by, announced
        return CHOSEN_MODEL
