"""What ``weft init`` writes is read back as it was meant, whatever characters it holds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.agents.file import AgentsFile
from bot.config import read_settings
from bot.setup.answers import Agent, Answers, Project, name_for
from bot.setup.texts import agents_text, env_text
from tests.commands import TOKEN

AWKWARD = st.sampled_from(
    ["'", '"', "\\", "$", "${HOME}", "${", "}", "#", " ", " #", "=", "é", "日本", "\u200d", "`", "!"]
)
PRINTABLE = st.lists(AWKWARD | st.characters(codec="utf-8").filter(str.isprintable), max_size=8).map("".join)
TEXT = PRINTABLE.filter(str.isprintable)
WORDS = st.lists(TEXT, max_size=3).map(lambda rest: ("agent", *rest))
IDS = st.lists(st.integers(10**15, 10**19), max_size=2, unique=True).map(tuple)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISCORD_TOKEN", "WEFT_AGENT_COMMAND", "WEFT_WORKSPACE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def read_back(text: str) -> tuple[object, ...]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / ".env"
        path.write_text(text)
        reading = read_settings(path)
    assert reading.problems == ()
    settings = reading.settings
    assert settings.discord_token is not None
    who = (settings.allowed_users, settings.allowed_roles, settings.approver_roles)
    return settings.discord_token.get_secret_value(), settings.agent_command, settings.workspace, who, settings.health


@settings(derandomize=True, deadline=None, max_examples=40)
@given(WORDS, TEXT, IDS, IDS, st.booleans())
@example(("agent", "a\\", "b"), "back\\", (), (), False)
@example(("agent", "${HOME}"), "${:-x}${HOME}", (), (), True)
def test_settings_are_read_back_exactly(
    command: tuple[str, ...], workspace: str, users: tuple[int, ...], roles: tuple[int, ...], again: bool
) -> None:
    """Also where they replace others, beside lines that stay."""
    answers = Answers(
        TOKEN, (Agent("a", command),), "/" + workspace, users=users, roles=roles, approvers=roles, health="127.0.0.1:1"
    )
    old = "WEFT_WORKSPACE='/old'\nOTHER='it\\'s'\nDISCORD_TOKEN=x\nKEY='a\\\\'\n" if again else ""
    wanted = (TOKEN, command, "/" + workspace, (users, roles, roles), "127.0.0.1:1")
    assert read_back(env_text(answers, old)) == wanted


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(WORDS, min_size=1, max_size=2), TEXT.filter(lambda text: "/" not in text))
def test_agents_and_projects_are_read_back_exactly(commands: list[tuple[str, ...]], path: str) -> None:
    answers = Answers(
        TOKEN,
        tuple(Agent(f"a{number}", words, ("SOME_KEY",)) for number, words in enumerate(commands)),
        "/work",
        (Project("site", Path("/srv") / path, "release/1.2"),),
    )
    read = AgentsFile(Path("weft.toml"), agents_text(answers)).agents("/work")
    assert [(one.name, one.command, one.env) for one in read] == [(a.name, a.command, a.env) for a in answers.agents]
    assert (read.default, read.projects["site"].path) == ("a0", Path("/srv") / path)
    assert read.projects["site"].base == "release/1.2"


def test_what_was_said_of_other_settings_stays_where_it_was() -> None:
    old = "# mine\nexport weft_workspace=/old # note\n\nWEFT_MAX_AGENTS=3\nAPI_KEY=k\nWEFT_HEALTH=x\n"
    old += "DISCORD_TOKEN=\nWEFT_WORKSPACE=/b"  # no line's end at the end
    text = env_text(Answers(TOKEN, (Agent("a", ("agent", "acp")),), "/new place"), old)
    assert text == (
        "# mine\nWEFT_WORKSPACE=/new place\n\nWEFT_MAX_AGENTS=3\nAPI_KEY=k\nWEFT_HEALTH=\n"
        f"DISCORD_TOKEN={TOKEN}\nWEFT_AGENT_COMMAND=agent acp\n"
    )


@pytest.mark.parametrize(
    ("text", "taken", "name"),
    [
        ("claude-agent-acp", [], "claude"),
        ("My Agent.sh", [], "my-agent-sh"),
        ("gemini", ["gemini", "gemini-2"], "gemini-3"),
        ("日本", [], "agent"),
    ],
)
def test_names_are_made_that_the_file_allows(text: str, taken: list[str], name: str) -> None:
    assert name_for(text, taken) == name
