"""Rules from a card: who may add, see and take back what is allowed without a question, and what they are told (C2).

An approver adds exactly the rule that a card offers, which answers the card, too. What is done here is recorded as a
decision (`bot.work.permissions.decisions`). Buttons, modals and commands call this alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import structlog

from bot.model import Actor, Inbound
from bot.reply.sanitise import clip, inline_code, one_line, units
from bot.work.permissions.asks import ask_of
from bot.work.permissions.cards import Card, CardState, PermissionRegistry
from bot.work.permissions.decisions import WHAT_LIMIT, Decision, Decisions, decision_on, what_of
from bot.work.permissions.kept_rules import KeptRules, Offer, rule_of
from bot.work.permissions.rules import Mode, Rule, Rules, Ruling, option_for, suggest, verdict
from bot.work.ports import Answer
from bot.work.questions.cards import Modal, ModalField
from bot.work.thread_settings import ThreadSettings
from pool.store import KeptRule

log = structlog.get_logger(__name__)

LONGEST = 300
"""Characters of a rule that a card may offer: as many as people read, and as the audit shows."""

FIELD = "rule"
"""Names the part of the modal that has the rule in it."""

NOT_YOURS = Answer("Only approvers may do this.", accepted=False)
FULL = Answer("No more rules can be kept: take some back with `/permissions revoke` first.", accepted=False)
CHANGED = Answer(
    "Nothing was kept, as the text of the rule was changed. Press *Always here…* again and leave it as it is.",
    accepted=False,
)
NOT_KEPT = Answer("There is no such rule any more. `/permissions list` shows all.", accepted=False)
IN_THE_FILE = Answer("This rule stands in weft.toml: change it there, and restart Weft.", accepted=False)
NO_RULES = "There are no rules yet. An approver can add one from a card, with *Always here…*."

_TEXT_LIMIT = 2000
_ABOUT_LIMIT = 100
_FOR_THE_FILE = 500
_UNDO = "-# To take a rule back: `/permissions revoke`"
_OTHERWISE = {
    Mode.ASK: "People answer what no rule decides",
    Mode.DENY: "What no rule allows is denied",
    Mode.ALLOW: "What no rule denies is allowed",
}
_MORE_KEPT = "-# and {count} older: `/permissions revoke` finds each."
_MORE_IN_FILE = "-# and {count} more in the file"


def may_keep(by: Actor) -> bool:
    """Return whether somebody who is let in may say what is allowed without a question."""
    return by.approver or by.owner


@dataclass(eq=False)
class RuleKeeping:
    """Adds, lists and revokes rules."""

    registry: PermissionRegistry
    kept: KeptRules
    decisions: Decisions
    settings: ThreadSettings

    def in_force(self, thread_id: int, _workspace: str) -> tuple[Rules, Mode]:
        """Return the rules of the file with those that people added from cards, and the mode, for a thread's agent."""
        agent = self.settings.profile_of(thread_id)
        return agent.rules + self.kept.current(agent.name, self.settings.rules_place(thread_id)), agent.mode

    # --- from a card -----------------------------------------------------------------------------------------------

    def offer(self, card: Card, asked_by: Inbound, workspace: str, offered: frozenset[int]) -> Offer | None:
        """Return the rule that would allow just what a card asks, if there is one that may be kept from it.

        Args:
            workspace: where the session works, as the agent sees it.
            offered: the numbers of the options that people can take.
        """
        request = card.request
        chosen = option_for(Ruling.ALLOW, request.options)
        # What takes two people is allowed by no rule, nor is what cannot be seen in full.
        if card.two_person or not request.complete or chosen is None or request.options.index(chosen) not in offered:
            return None
        try:
            ask = ask_of(request.tool_call, workspace)
            rule = suggest(ask)
            rules, mode = self.in_force(asked_by.thread_id, workspace)
            # Where a deny rule may match, a person is asked all the same: a rule would promise what it can't keep.
            if rule is not None and verdict(ask, rules + Rules(allow=(rule,)), mode).ruling is not Ruling.ALLOW:
                return None
        except Exception:
            # A fault here must not keep people from deciding.
            log.exception("rule.not_offered", thread=asked_by.thread_id)
            return None
        if rule is None:
            return None
        text, redact = str(rule), self.decisions.redact
        # It is kept and shown for long: not with a secret in it, nor longer than people read.
        if len(text) > LONGEST or redact(text) != text:
            return None
        agent = self.settings.profile_of(asked_by.thread_id)
        what = clip(redact(what_of(request.tool_call)), WHAT_LIMIT)
        return Offer(rule, agent.name, self.settings.rules_place(asked_by.thread_id), asked_by, what)

    def open(self, token: str, by: Actor, message_id: int = 0) -> Answer:
        """Return the modal that shows exactly the rule that a card offers; ``message_id``: of the card."""
        card = self._find(token, by, message_id)
        if isinstance(card, Answer):
            return card
        offer, _ = card
        about = clip(f"From now on, {offer.agent} may do this without asking, in {offer.workspace}.", _ABOUT_LIMIT)
        rule = ModalField(
            FIELD, "Leave the rule as it is", about, True, True, value=(str(offer.rule),), most=2 * LONGEST
        )
        return Answer("", accepted=True, modal=Modal(f"weft:keep:{token}", "Always allow exactly this?", (rule,)))

    def keep(self, token: str, typed: str, by: Actor, message_id: int = 0) -> Answer:
        """Keep the rule that a card offers, and allow its request once.

        Args:
            typed: what the modal had in it when it was sent; nothing but the rule itself is taken.
            message_id: of the card.
        """
        card = self._find(token, by, message_id)
        if isinstance(card, Answer):
            return card
        offer, opened = card
        # Discord may change white space at the ends; who changes a word means another rule, which nobody has checked.
        if one_line(typed) != one_line(str(offer.rule)):
            return CHANGED
        call, chosen = opened.request.tool_call, option_for(Ruling.ALLOW, opened.request.options)
        assert chosen is not None
        answer = self.registry.take(opened, chosen, by)
        if not answer.accepted:
            return answer
        # Only once the request has its answer: of two people who send this at once, one has allowed anything.
        self.kept.keep(offer, by)
        added = decision_on(call, offer.asked_by, "person", "kept", person=by, rule=str(offer.rule))
        self.decisions.record(replace(added, kind="rule"))
        told = f"Allowed here without asking from now on: {inline_code(str(offer.rule), LONGEST)}"
        return replace(answer, text=f"{answer.text}\n{told}\n{_UNDO}")

    def _find(self, token: str, by: Actor, message_id: int) -> tuple[Offer, Card] | Answer:
        card = self.registry.find(token)
        if card is None or card.offer is None or card.state is not CardState.OPEN:
            return self.registry.too_late(card, message_id)
        if not may_keep(by):
            return NOT_YOURS
        return FULL if self.kept.full else (card.offer, card)

    # --- by command ------------------------------------------------------------------------------------------------

    def describe(self, by: Actor) -> Answer:
        """Return all rules: those that people have added, the newest first, and those of ``weft.toml``."""
        if not may_keep(by):
            return NOT_YOURS
        kept = [self._kept_line(one) for one in reversed(self.kept.all())]
        file = [f"{verb} {inline_code(str(rule), 80)}{of}" for of, verb, rule in self._configured()]
        rest = self._otherwise()
        if not kept and not file:
            return Answer("\n".join([NO_RULES, *rest]), accepted=True)
        rest += [_UNDO] if kept else []
        room = _TEXT_LIMIT - sum(units(line) + 1 for line in rest)
        # Those of the file can be read there, so they have what room the others leave, and a little in any case.
        lines = _fitting("**Added from cards**", kept, _MORE_KEPT, room - (_FOR_THE_FILE if file else 0))
        lines += _fitting("**In weft.toml**", file, _MORE_IN_FILE, room - sum(units(one) + 1 for one in lines))
        return Answer("\n".join([*lines, *rest]), accepted=True)

    def choices(self, by: Actor) -> list[tuple[str, str]]:
        """Return the kept rules, the newest first: how each reads, and its id."""
        kept = reversed(self.kept.all()) if may_keep(by) else ()
        named = self.settings.agents.chosen
        return [(f"{rule_of(one)}{f' ({one.agent})' if named else ''}", str(one.rule_id)) for one in kept]

    def revoke(self, named: str, by: Actor, guild_id: int | None, place_id: int) -> Answer:
        """Take a rule back, by its id or by how it reads; it is asked again from the next request on."""
        if not may_keep(by):
            return NOT_YOURS
        found = [one for one in self.kept.all() if named in (str(one.rule_id), str(rule_of(one)))]
        if not found:
            configured = {str(rule) for _, _, rule in self._configured()}
            return IN_THE_FILE if named in configured else NOT_KEPT
        if len(found) > 1:
            return Answer("Several agents have such a rule: choose one from the list.", accepted=False)
        (kept,) = found
        self.kept.revoke(kept.rule_id)
        rule = str(rule_of(kept))
        revoked = Decision(
            at=time.time(),
            guild_id=guild_id,
            thread_id=place_id,
            prompt_id=kept.prompt_id,
            asker_id=kept.added_by_id,
            asker_name=kept.added_by_name,
            what=kept.request,
            kind="rule",
            decided_by="person",
            person_id=by.id,
            person_name=by.name,
            rule=rule,
            option=None,
            outcome="revoked",
        )
        self.decisions.record(revoked)
        return Answer(
            f"Taken back: {inline_code(rule, LONGEST)}. From now on people are asked again.",
            accepted=True,
            lasting=True,
        )

    def _otherwise(self) -> list[str]:
        """Return what happens to requests that no rule decides, with agents and projects where they differ in that."""
        agents = self.settings.agents
        modes = dict.fromkeys(profile.mode for profile in agents)
        names = {mode: ", ".join(one.name for one in agents if one.mode is mode) for mode in modes}
        lines = [
            f"-# {_OTHERWISE[mode]}{f' ({clip(names[mode], _ABOUT_LIMIT)})' if len(modes) > 1 else ''}."
            for mode in modes
        ]
        for mode in dict.fromkeys(one.mode for one in agents.projects.values() if one.mode is not None):
            named = ", ".join(one.name for one in agents.projects.values() if one.mode is mode)
            lines.append(f"-# {_OTHERWISE[mode]} in {clip(named, _ABOUT_LIMIT)}.")
        return lines

    def _kept_line(self, kept: KeptRule) -> str:
        verb, rule = "allow" if kept.allow else "deny", inline_code(str(rule_of(kept)), 80)
        where, by = inline_code(kept.workspace, 60), inline_code(kept.added_by_name, 30)
        return f"{verb} {rule}{self._of(kept.agent)} in {where}, by {by} <t:{int(kept.added_at)}:R>"

    def _of(self, agent: str) -> str:
        return f" for {inline_code(agent, 32)}" if self.settings.agents.chosen else ""

    def _configured(self) -> Iterator[tuple[str, str, Rule]]:
        """Yield the rules of the file: for whom or where each is, what it does, and itself."""
        of_agents = [(self._of(profile.name), profile.rules) for profile in self.settings.agents]
        of_projects = [
            (f" in {inline_code(one.name, 32)}", one.rules) for one in self.settings.agents.projects.values()
        ]
        for of, rules in (*of_agents, *of_projects):
            for verb, several in (("allow", rules.allow), ("deny", rules.deny), ("two people:", rules.two_person)):
                yield from ((of, verb, rule) for rule in several)


def _fitting(head: str, lines: list[str], more: str, room: int) -> list[str]:
    """Return a head and as many lines as there is room for, and how many are left out; nothing if there are none."""
    shown, room = [head], room - units(head) - units(more) - 10
    for line in lines:
        room -= units(line) + 1
        if room < 0:
            break
        shown.append(line)
    left_out = len(lines) - len(shown) + 1
    return [*shown, *([more.format(count=left_out)] if left_out else [])] if lines else []
