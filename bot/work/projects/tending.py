"""What people do with the work trees of a list: look at one, remove it, or remove it although it is not safe (W4).

Whoever may share a thread's work may remove its tree while nothing is lost by that; anything beyond is for approvers
and owners, who read first what is kept and where. Which trees somebody sees at all is decided in `bot.chat`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.model import Actor, ThreadPlace
from bot.reply.port import Body, Button
from bot.reply.sanitise import inline_code
from bot.work.editors import Editors
from bot.work.permissions.decisions import Decisions
from bot.work.ports import Answer
from bot.work.projects.actions import NOT_YOURS, TreeActions, done_by
from bot.work.projects.listing import TreeEntry, TreeLook, branch_name, size_words, state_words
from bot.work.projects.removal import Removal

Press = Literal["remove", "anyway", "sure"]

NOT_YOURS_ANYWAY = Answer(
    "Only approvers and the owner of this bot can remove work that exists nowhere else.", accepted=False
)
REMOVED = "Removed."
BRANCH_GONE, BRANCH_STAYS = "Its branch, which is merged, is gone as well.", "Its branch stays in the repository."
KEPT = "Uncommitted work is kept there as {names}."
CONFIRM = (
    "**Remove {branch}, with work that exists nowhere else?**\n"
    "Its directory is deleted, with the files that git ignores, such as builds and `.env`. "
    "Its branch stays in the repository, and uncommitted work is kept there under `refs/weft/kept/{name}/`."
)


@dataclass(frozen=True, slots=True)
class Tending:
    """Answers those who look after work trees."""

    actions: TreeActions
    removal: Removal
    decisions: Decisions
    editors: Editors

    def show(self, entry: TreeEntry, look: TreeLook, here: int, by: Actor, *, named: bool) -> Answer:
        """Return what is known of a work tree, with the button that removes it; ``here``: where that is shown."""
        parts = [inline_code(entry.project or "?", 40), size_words(look), "; ".join(state_words(entry, look))]
        text = f"{branch_name(entry, look, named=named)} · {' · '.join(part for part in parts if part)}"
        if not self._may(entry, by):
            who = "the person who began its thread, approvers and the owner of this bot"
            return Answer(f"{text}\n-# Only {who} can remove it.", accepted=True)
        return Answer(text, accepted=True, buttons=(_button(here, entry, "remove", "Remove"),))

    async def remove(
        self, entry: TreeEntry, look: TreeLook, press: Press, place: ThreadPlace, by: Actor, *, named: bool
    ) -> Answer:
        """Do what a button of `show`, or of what follows it, stands for; ``place``: where it was pressed."""
        if not self._may(entry, by):
            return NOT_YOURS
        # At each press: buttons stay where they are, and rights change.
        if press != "remove" and not (by.owner or by.approver):
            return NOT_YOURS_ANYWAY
        here, branch = place.thread_id, branch_name(entry, look, named=named)
        if press == "anyway":
            text = CONFIRM.format(branch=branch, name=entry.directory.name)
            return Answer(text, accepted=True, buttons=(_button(here, entry, "sure", "Yes, remove it", "danger"),))
        done = await self.removal.remove(entry.home, entry.tree, anyway=press == "sure")
        if isinstance(done, Answer):
            return done
        if done.unsafe and press == "sure":
            return Answer(f"Not removed, as git can't keep this: {done.unsafe}", accepted=False)
        if done.unsafe:
            if not (by.owner or by.approver):
                return Answer(
                    f"Not removed: {done.unsafe}\n-# Approvers and the owner of this bot can remove it anyway.", False
                )
            button = _button(here, entry, "anyway", "Remove anyway…")
            return Answer(f"Not removed: {done.unsafe}", accepted=False, buttons=(button,))
        self._record(entry, place, by, anyway=press == "sure")
        told = [REMOVED, BRANCH_GONE if done.branch_gone else BRANCH_STAYS]
        told += [KEPT.format(names=", ".join(inline_code(one, 100) for one in done.kept[:5]))] if done.kept else []
        return Answer(" ".join(told), accepted=True)

    def _may(self, entry: TreeEntry, by: Actor) -> bool:
        threads = entry.users or (0,)  # of a tree that is nobody's, approvers and owners
        return any(self.actions.may_share(thread_id, by) for thread_id in threads)

    def _record(self, entry: TreeEntry, place: ThreadPlace, by: Actor, *, anyway: bool) -> None:
        what = f"removed the work tree {entry.branch or entry.directory.name}{' anyway' if anyway else ''}"
        where = ThreadPlace(place.guild_id, entry.users[0], None) if entry.users else place
        told = f"-# 🌿 {inline_code(by.name, 60)} removed this thread's work tree. Your next message brings it back."

        def say() -> None:
            # Of a thread that is gone, Discord says so; of a directory that was nobody's there is nobody to tell.
            for thread_id in entry.users if entry.row is not None else ():
                self.editors.of(thread_id).say(Body(told))

        self.decisions.record(done_by(by, where, what), say)


def _button(
    here: int, entry: TreeEntry, press: Press, label: str, style: Literal["secondary", "danger"] = "secondary"
) -> Button:
    return Button(f"weft:tree:{here}:{entry.key}:{press}", label, style)
