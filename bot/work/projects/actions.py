"""What people do with a thread's work tree: commit, merge, push, and have conflicts resolved (W4).

Commands, buttons and the tools of agents call this alone. Git is asked elsewhere; here stands who may, when, and what
is said. Whoever may prompt may commit, as they may have the agent do that. A merge or a push changes what others work
on: that is for whoever began the thread, for approvers and for owners (ADR 17). What was done is recorded as a
decision before the thread reads of it. Nothing is kept here.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog

from bot.model import Actor, ThreadPlace
from bot.reply.port import Body, Button
from bot.reply.sanitise import clip, inline_code, one_line
from bot.work.controls import RESTARTING
from bot.work.editors import Editors
from bot.work.permissions.decisions import WORKTREE, Decision, Decisions
from bot.work.ports import Answer
from bot.work.projects.branches import Branches
from bot.work.projects.service import Projects
from bot.work.queue.scheduler import Scheduler
from bot.work.running_turn import Claim, RunningTurn
from bot.work.runs import Runs
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from bot.work.workspace import commits, merging, publishing
from bot.work.workspace.recovery import recover_merges
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.trial import Conflicts
from bot.work.workspace.worktrees import WorkTree

log = structlog.get_logger(__name__)

LIMIT = 90.0
"""Seconds for all of an action, the wait for git before it among them."""

SAVE_LIMIT = 5.0
"""Seconds that conflicts wait to be written down before they are shown."""

BEGUN_BY, CONFLICT = "begun_by", "conflict"
"""Kept with a thread: who gave its first prompt; and of its last merge that failed, what the agent is to be asked."""

NO_TREE = Answer(
    "This thread has no work tree of its own. `/new` with a project opens a thread that has one.", accepted=False
)
NOT_YOURS = Answer(
    "This changes what others work on: only the person who began this thread, approvers and the owner of this bot can "
    "do it.",
    accepted=False,
)
WORKING = Answer("The agent is working: wait or press Stop, then try again.", accepted=False)
BEING_MADE = Answer("The work tree of this thread is still being made. Try again in a minute.", accepted=False)
SLOW = Answer(
    f"Git took longer than {LIMIT:g} s, so I stopped it. `/worktrees` shows how things are; then try again.",
    accepted=False,
)
NO_GIT = Answer("Git could not be started; the log says why.", accepted=False)
DONE = Answer("", accepted=True)
"""The thread reads what was done: there is nothing to be said to the person alone."""

OUTDATED = Answer("This button is outdated. Use `/merge` to see how things are now.", accepted=False)
ASKED = Answer("The agent has been asked already. When it is done, use `/merge` again.", accepted=False)
RESOLVE = "Ask the agent to resolve"

_MESSAGE_LIMIT, _TITLE_LIMIT, _SHOWN_LIMIT = 4_000, 200, 200

Step = Callable[[WorkTree], Awaitable[Answer]]


@dataclass(eq=False)
class TreeActions(TurnListener):
    """Carries out what people want done with work trees.

    Args:
        journals: the directory in which merges under way are written down.
        redact: takes secrets out of a text.
        saved: waits until all that is kept is written down.
    """

    projects: Projects
    branches: Branches
    runs: Runs
    scheduler: Scheduler[Claim]
    settings: ThreadSettings
    editors: Editors
    decisions: Decisions
    journals: Path
    redact: Callable[[str], str]
    saved: Callable[[], Awaitable[bool]]

    async def recover(self) -> None:
        """Bring merges to their end, or back, that a kill cut off; before anybody works where they were made."""
        if not self.projects.rows:
            return  # then nothing was ever merged here
        with anyio.move_on_after(LIMIT) as waited:
            for one in await recover_merges(self.journals):
                for home, row in self.projects.rows.items():
                    if row.branch == one.branch and Path(row.repository) == one.repository and one.text:
                        self.editors.of(home).say(Body(self.redact(one.text)))
        if waited.cancelled_caught:
            log.error("merge.not_recovered", seconds=LIMIT)

    def started(self, running: RunningTurn) -> None:
        """Remember who gave a thread its first prompt."""
        thread_id = running.thread_id
        if self.settings.kept(thread_id, BEGUN_BY) is None and self.settings.project_name(thread_id) is not None:
            self.settings.keep(thread_id, {BEGUN_BY: running.first.author.id})

    def may_share(self, thread_id: int, by: Actor) -> bool:
        """Return whether somebody who is let in may change what others see of a thread's work."""
        return by.owner or by.approver or self.settings.kept(thread_id, BEGUN_BY) == by.id

    # --- what people do ----------------------------------------------------------------------------------------------

    async def commit(self, place: ThreadPlace, by: Actor, message: str = "", title: str = "") -> Answer:
        """Commit all that is new in a thread's work tree; ``title``: of the thread, where no message is given."""
        # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
        text = self.redact(message).strip()[:_MESSAGE_LIMIT] or self._title(title)

        async def step(tree: WorkTree) -> Answer:
            done = await commits.commit(tree, text, by.name, journals=self.journals)
            branch, subject = _code(tree.branch), inline_code(text.split("\n", 1)[0], _SHOWN_LIMIT)
            size = _size(done.files, done.added, done.removed)
            left = f"\n-# Left out, as repositories of their own: {_names(done.left_out)}" if done.left_out else ""
            told = f"📌 {_person(by)} committed {_code(done.id[:7])} to {branch} · {size}\n{subject}{left}"
            return self._record(place, by, f"committed {done.id[:12]} to {tree.branch}", told)

        return await self._act(place, step, "Nothing was committed")

    async def merge(
        self, place: ThreadPlace, by: Actor, *, squash: bool = False, title: str = "", key: str = ""
    ) -> Answer:
        """Merge a thread's branch into its base; ``key`` names this attempt in the button below its conflicts."""
        if not self.may_share(place.thread_id, by):
            return NOT_YOURS

        async def step(tree: WorkTree) -> Answer:
            text = self._title(title) if squash else f"Merge {tree.branch}: {self._title(title)}"
            row = self.projects.row_of(place.thread_id)
            # Where the branch began: a base that was rewritten since is known by that.
            began = row.base_commit if row is not None else None
            try:
                done = await merging.merge(
                    tree, text, by.name, squash=squash, journals=self.journals, base_commit=began
                )
            except Conflicts as exc:
                return await self._conflicting(place, by, tree, exc, key)
            # The button below earlier conflicts is outdated now.
            self.settings.keep(place.thread_id, {CONFLICT: None})
            how = "squashed" if squash else "merged"
            size = _size(done.files, done.added, done.removed)
            told = f"🌿 {_person(by)} {how} {_code(tree.branch)} into {_code(done.base)} · {size}"
            return self._record(place, by, f"{how} {tree.branch} into {done.base}: {done.id[:12]}", told)

        return await self._act(place, step, "Nothing was merged")

    async def publish(self, place: ThreadPlace, by: Actor, title: str = "", thread: str = "") -> Answer:
        """Push a thread's branch and open a pull request, or say where to; ``thread``: its title, the usual one."""
        if not self.may_share(place.thread_id, by):
            return NOT_YOURS
        project = self.settings.project_of(place.thread_id)

        async def step(tree: WorkTree) -> Answer:
            remote = project.remote if project is not None else "origin"
            link = f"https://discord.com/channels/{place.guild_id or '@me'}/{place.thread_id}"
            done = await publishing.push(tree, remote, self._title(title or thread), f"Made in Discord: {link}")
            # Always where to: an agent can have changed the address of a remote.
            to = _code(done.host) if done.host else "a directory"
            told = [f"🚀 {_person(by)} pushed {_code(tree.branch)} to {to}"]
            if done.pull_request:
                told.append(f"Pull request: {done.pull_request}")
            elif done.link:
                told.append(f"Open a pull request: {done.link}")
            told += [f"-# {done.note}"] if done.note else []
            where = done.pull_request or done.host or remote
            return self._record(place, by, f"pushed {tree.branch} to {where}", "\n".join(told))

        return await self._act(place, step, "Nothing was pushed")

    def resolve(self, thread_id: int, key: str) -> Answer:
        """Return what the agent is to be asked about the conflicts of a merge, once; call `unasked` if it is not."""
        kept = self.settings.kept(thread_id, CONFLICT)
        if not isinstance(kept, dict) or kept.get("key") != key or not isinstance(kept.get("prompt"), str):
            return OUTDATED
        if kept.get("asked"):
            return ASKED
        # Before it is shown: a second press in the same moment, or in the next run, asks no more.
        self.settings.keep(thread_id, {CONFLICT: {**kept, "asked": True}})
        return Answer(kept["prompt"], accepted=True, lasting=True)

    def unasked(self, thread_id: int, key: str) -> None:
        """Let the button work once more: the prompt did not get as far as the thread."""
        kept = self.settings.kept(thread_id, CONFLICT)
        if isinstance(kept, dict) and kept.get("key") == key:
            self.settings.keep(thread_id, {CONFLICT: {**kept, "asked": False}})

    # --- how ---------------------------------------------------------------------------------------------------------

    def hindrance(self, home: int) -> Answer | None:
        """Return why nobody may touch the work tree of a thread now; None if nothing speaks against it."""
        if self.scheduler.closed:
            return RESTARTING
        # A set-up takes minutes, and a turn waits for it: that says more than that the agent works.
        if self.projects.doing(home):
            return BEING_MADE
        return WORKING if any(self.runs.in_thread(user) for user in self.projects.users_of(home)) else None

    async def _act(self, place: ThreadPlace, step: Step, nothing: str) -> Answer:
        """Take a step if the thread has a work tree that nobody uses now; ``nothing``: what is said if it fails."""
        thread_id = place.thread_id
        tree, home = self.projects.tree_of(thread_id), self.settings.home_of(thread_id)
        if tree is None:
            return NO_TREE
        if hindrance := self.hindrance(home):
            return hindrance
        try:
            with anyio.fail_after(LIMIT):
                # Behind whatever else is done to this tree, and no other.
                async with self.projects.holding(home):
                    # Once more: a turn may have begun meanwhile.
                    answer = self.hindrance(home) or await step(tree)
        except TimeoutError:
            return SLOW
        except Unreadable as exc:
            return Answer(f"{nothing}: {self.redact(str(exc))}", accepted=False)
        except OSError:
            log.exception("git.not_started", thread=thread_id)
            return NO_GIT
        else:
            self.branches.renew(thread_id, tree)
            return answer

    async def _conflicting(self, place: ThreadPlace, by: Actor, tree: WorkTree, found: Conflicts, key: str) -> Answer:
        """Show everybody in the thread what stands against a merge, with the way out."""
        prompt = clip(self.redact(merging.resolve_prompt(found)), _SHOWN_LIMIT * 9)
        self.settings.keep(place.thread_id, {CONFLICT: {"key": key, "prompt": prompt, "asked": False}})
        # Before it is shown: the button of a run that was killed knows by that what it is about.
        with anyio.move_on_after(SAVE_LIMIT):
            await self.saved()
        button = Button(f"weft:resolve:{place.thread_id}:{key}", RESOLVE, "primary")
        what = f"{_code(tree.branch)} into {_code(found.base)}"
        text = f"⚠️ {_person(by)} could not merge {what}: {found}. Nothing was changed."
        self.editors.of(place.thread_id).say(Body(self.redact(text), (button,)))
        log.info("branch.conflicts", thread=place.thread_id, user=by.id, files=len(found.files))
        return DONE

    def _record(self, place: ThreadPlace, by: Actor, what: str, told: str) -> Answer:
        """Write down what somebody did, and let the thread read it then."""
        decision = done_by(by, place, what)
        self.decisions.record(decision, lambda: self._say(place.thread_id, told))
        log.info("branch.changed", thread=place.thread_id, user=by.id, what=what.split(" ", maxsplit=1)[0])
        return DONE

    def _say(self, thread_id: int, text: str) -> None:
        self.editors.of(thread_id).say(Body(self.redact(text)))

    def _title(self, title: str) -> str:
        return clip(one_line(self.redact(title)), _TITLE_LIMIT) or "Changes by Weft"


def done_by(by: Actor, place: ThreadPlace, what: str) -> Decision:
    """Return the record of what somebody did with the work tree of a thread."""
    return Decision(
        at=time.time(),
        guild_id=place.guild_id,
        thread_id=place.thread_id,
        prompt_id=0,
        asker_id=by.id,
        asker_name=by.name,
        what=what,
        kind=WORKTREE,
        decided_by="person",
        person_id=by.id,
        person_name=by.name,
        rule=None,
        option=None,
        outcome="done",
    )


def _size(files: int, added: int, removed: int) -> str:
    return f"{'1 file' if files == 1 else f'{files:,} files'} +{added:,} −{removed:,}"


def _person(by: Actor) -> str:
    return inline_code(by.name, 60)


def _code(text: str) -> str:
    return inline_code(text, 80)


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(inline_code(name, 60) for name in names[:5]) + more
