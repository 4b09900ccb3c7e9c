"""The last decisions as people read them in Discord."""

from __future__ import annotations

from bot.reply.sanitise import units
from bot.work.permissions.audit import LIMIT, NOTHING_ANYWHERE, NOTHING_HERE, SHOWN, describe_decisions
from tests.pool.samples import decision


def test_each_decision_is_a_line_with_who_or_what_decided() -> None:
    """C5"""
    nobody = {"person_id": None, "person_name": None, "option": None}
    found = [
        decision(1),
        decision(2, outcome="rejected", what="a `b`\n@everyone"),
        decision(3, decided_by="timeout", outcome="expired", **nobody),
        decision(4, decided_by="rule", rule="execute npm test", **nobody),
        decision(5, decided_by="mode", outcome="rejected", rule="deny", **nobody),
        decision(6, decided_by="cancel", outcome="cancelled", reason="the turn ended", **nobody),
        decision(8, kind="rule", outcome="kept", rule="npm test"),
        decision(9, kind="rule", outcome="revoked", rule="npm test"),
        decision(7, decided_by="cancel", outcome="cancelled", **nobody),
        decision(10, kind="question", outcome="rejected", what="a form: Port"),
    ]
    assert describe_decisions(found, server=False).split("\n") == [
        "✅ <t:1764000001:R> `rm -r build/1`: allowed by `bob ü🧵`",
        "⛔ <t:1764000002:R> `a ˋbˋ @everyone`: rejected by `bob ü🧵`",
        "⌛ <t:1764000003:R> `rm -r build/3`: nobody answered in time",
        "✅ <t:1764000004:R> `rm -r build/4`: allowed by the rule `execute npm test`",
        "⛔ <t:1764000005:R> `rm -r build/5`: denied by the mode `deny`",
        "⏹ <t:1764000006:R> `rm -r build/6`: cancelled (the turn ended)",
        "📌 <t:1764000008:R> `rm -r build/8`: rule `npm test` added by `bob ü🧵`",
        "🗑 <t:1764000009:R> `rm -r build/9`: rule `npm test` taken back by `bob ü🧵`",
        "⏹ <t:1764000007:R> `rm -r build/7`: cancelled",
        "⛔ <t:1764000010:R> `a form: Port`: declined by `bob ü🧵`",
        "-# Newest first; older ones and all details: `weft audit` on the machine that runs me.",
    ]
    assert " in <#1> `rm -r build/1`:" in describe_decisions(found, server=True)


def test_the_list_fits_a_message_and_says_where_the_rest_is() -> None:
    """C5: long names, rules and commands cost length first, and then the oldest their place."""
    assert (describe_decisions([], server=False), describe_decisions([], server=True)) == (
        NOTHING_HERE,
        NOTHING_ANYWHERE,
    )
    for what in ("rm -r build", "x" * 1000, "🧵" * 500):
        found = [decision(n, what=what, rule="🧵" * 150, decided_by="rule", thread_id=10**18) for n in range(SHOWN)]
        text = describe_decisions(found, server=True)
        assert units(text) <= LIMIT
        assert text.count("<t:") >= 11
        assert "`weft audit`" in text
