"""``weft init`` in a terminal and without one, against the loopback Discord, with an agent that is started."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
from pathlib import Path

import anyio
import pytest

from bot import packaged
from bot.config import read_settings
from bot.sandbox import FakeDiscord
from bot.sandbox.model import Intents
from tests import warm
from tests.agents import scenario
from tests.bot.setup.terminal import terminal
from tests.commands import LIMIT, environment
from tests.repeat import in_soak

PERSON = "123456789012345678"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is read back here, too."""
    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)


def agent(directory: Path, **start: object) -> str:
    directory.mkdir(exist_ok=True)
    return shlex.join(scenario(directory, start=start).argv)


def repository(path: Path) -> Path:
    for line in ("init -q -b trunk .", "commit -q --allow-empty -m one"):
        path.mkdir(exist_ok=True)
        who = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        subprocess.run(["git", *line.split()], cwd=path, env=os.environ | who, check=True)
    return path


def private(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) == 0o600


def there(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def copies(directory: Path) -> list[Path]:
    """The old files that were kept."""
    return list(directory.glob(".env.*.bak"))


def init(directory: Path, *arguments: str, stdin: str = "", **settings: str) -> tuple[int, str, str]:
    """Run it without a terminal; return the exit code and what it said."""
    with warm.WarmPopen(["init", *arguments], directory, environment(directory, **settings)) as process:
        process.stdin.write(stdin.encode())
        process.stdin.close()
        out, err = process.stdout.read().decode(), process.stderr.read().decode()
        return process.wait(LIMIT), out, err


@pytest.mark.asyncio
async def test_who_answers_the_questions_has_a_bot_that_the_doctor_finds_well(tmp_path: Path) -> None:
    """R8: wrong answers are asked again, nothing shows the token, and what is written is for its owner alone."""
    works, broken = agent(tmp_path / "one"), agent(tmp_path / "two", exit=4)
    where, found = repository(tmp_path / "site"), tmp_path / "bin"
    found.mkdir()
    (found / "gemini").write_text(f"#!/bin/sh\nexec {works}\n")
    (found / "gemini").chmod(0o755)
    async with FakeDiscord() as discord:
        discord.granted_intents &= ~Intents.MESSAGE_CONTENT
        developers, twin = discord.add_role("The Developers"), discord.add_role("Twin")
        discord.add_role("twin")
        ana = discord.user("ana")
        given = {"WEFT_DISCORD_API": discord.api_url, "PATH": f"{found}:{os.environ['PATH']}", "GEMINI_API_KEY": "k"}
        async with terminal(tmp_path, "init", **given) as person:
            await person.answer("Token (hidden)", "canary with spaces")
            await person.expect("no spaces in it")
            await person.answer("Token (hidden)", "another.canary.token")
            await person.expect("does not accept the token")
            await person.answer("Token (hidden)", discord.token)
            await person.expect("Message Content is off: switch it on")
            discord.granted_intents |= Intents.MESSAGE_CONTENT
            await person.answer("Enter: look again", "")
            await person.expect("Message Content is on")
            await person.answer("Number, or a command [1]", "no-such-agent acp")
            await person.answer("no-such-agent was not found", broken)
            await person.answer("k: keep it", "o")
            await person.expect("1) gemini --acp")
            await person.answer("Number, or a command", "1")
            await person.answer("GEMINI_API_KEY is set here", "")
            await person.answer("Directory", "/dev/null")
            await person.answer("is not a directory", str(tmp_path / "work" / "{thread_id}"))
            await person.answer("Make it at the end?", "y")
            await person.answer("Add some?", "y")
            await person.answer("Another agent's command", f"second={works}")
            await person.answer("Another agent's command", "")
            await person.answer("A git repository's directory", str(tmp_path))
            await person.answer("is not a git repository", str(where))
            await person.answer("new ones begin at [trunk]", "nowhere")
            await person.answer("no branch", "")
            await person.answer("A git repository's directory", "")
            await person.answer("Number", "2")
            await person.answer("Roles:", "the developer, twin")
            await person.expect("did you mean The Developers?")
            await person.answer("more than one role", f"@the developers, {twin}")
            await person.answer("People:", f"nobody, {PERSON}")
            await person.answer("there is no member called 'nobody'", f"ANA, {PERSON}")
            await person.answer("Roles that approve", str(twin))
            await person.answer("Address for health", "0.0.0.0:1")
            await person.answer("not a loopback address", "127.0.0.1:8085")
            assert not (tmp_path / ".env").exists()
            await person.answer("Write this?", "")
            assert await person.end() == 0
        assert discord.token not in person.shown
        assert "canary" not in person.shown
        report = person.shown.partition("The doctor's report:")[2]
        assert "\nok    session     " in report
        assert f"invite the bot:  https://discord.com/oauth2/authorize?client_id={discord.application_id}" in report
        assert "weft run " in report
        assert "weft service install" in report
    settings = read_settings(tmp_path / ".env").settings
    assert settings.discord_token is not None
    assert settings.discord_token.get_secret_value() == discord.token
    who = (settings.allowed_roles, settings.allowed_users, settings.approver_roles, settings.health)
    assert who == ((developers, twin), (ana.id, int(PERSON)), (twin,), "127.0.0.1:8085")
    assert settings.agents_file is not None
    agents = settings.agents_file.agents(settings.workspace)
    assert [shlex.join(one.command) for one in agents] == ["gemini --acp", works]
    assert (agents.names, agents.default, agents.projects["site"].base) == (("gemini", "second"), "gemini", "trunk")
    assert agents.profile("gemini").env == ("GEMINI_API_KEY",)
    assert (tmp_path / "work").is_dir()
    assert private(tmp_path / ".env")
    assert private(tmp_path / "weft.toml")


@pytest.mark.asyncio
async def test_settings_that_are_there_are_offered_and_the_old_file_is_kept(tmp_path: Path) -> None:
    """R8: other lines stay, neither token is shown, and no is an answer."""
    command = agent(tmp_path / "one")
    old = f"# mine\nDISCORD_TOKEN=old.canary\nWEFT_AGENT_COMMAND={command}\nWEFT_WORKSPACE={tmp_path}\nKEY=v\n"
    (tmp_path / ".env").write_text(old)
    for agreed in ("n", "y"):
        async with terminal(tmp_path, "init", "--offline", WEFT_DISCORD_API="http://127.0.0.1:1") as person:
            await person.answer("Keep the one in .env?", "n")
            await person.answer("Token (hidden)", "new.canary")
            await person.answer("[", "")  # the agent that is there is the usual answer, and so on
            await person.answer(f"Directory [{tmp_path}]", "")
            await person.answer("Add some?", "")
            await person.answer("Number [1]", "")
            await person.answer("Address for health", "")
            await person.expect("-DISCORD_TOKEN=(not shown)\n  +DISCORD_TOKEN=(not shown)\n")
            await person.answer("Write this?", agreed)
            assert await person.end() == (1 if agreed == "n" else 0)
        assert "canary" not in person.shown
        if agreed == "n":
            assert (tmp_path / ".env").read_text() == old
    assert (tmp_path / ".env").read_text() == old.replace("old.canary", "new.canary")
    (copy,) = copies(tmp_path)
    assert copy.read_text() == old
    assert private(copy)


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["token", *in_soak(["agent", "trial", "end"])])
async def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, step: str) -> None:
    """R8"""
    command = agent(tmp_path / "one", **({"hang": "initialize"} if step == "trial" else {}))
    settings = {"WEFT_DISCORD_API": "http://127.0.0.1:1", "DISCORD_TOKEN": "" if step == "token" else "any.canary"}
    async with terminal(tmp_path, "init", "--offline", **settings) as person:
        if step == "token":
            await person.expect("Token (hidden)")
        else:
            await person.expect("Command")
        if step in ("trial", "end"):
            person.type(command)
            await person.expect("Starting it once")
        if step == "end":
            await person.answer("Directory", str(tmp_path / "new"))
            await person.answer("Make it", "")
            await person.answer("Add some?", "")
            await person.answer("Number [1]", "")
            await person.answer("Address for health", "")
            await person.expect("Write this?")
        # It is pressed until it is heard: the last one may come when Python has put its handlers away.
        assert await person.interrupt() in (130, -signal.SIGINT)
        assert person.shown.endswith("\nNothing was written.\n")
    assert sorted(path.name for path in there(tmp_path)) == ["home", "one", "state", "tmp"]


@pytest.mark.asyncio
async def test_without_questions_the_options_say_it_all(tmp_path: Path) -> None:
    """R8: the token comes by the standard input, and names are looked up."""
    command = agent(tmp_path / "one")
    async with FakeDiscord() as discord:
        role = discord.add_role("Team")
        given = (
            *("--token-stdin", "--agent", command, "--workspace", str(tmp_path / "work"), "--agent-env", "SOME_KEY"),
            *("--allow-role", "team", "--allow-user", PERSON),
        )
        run = lambda *more: init(tmp_path, *given, *more, stdin=discord.token + "\n", WEFT_DISCORD_API=discord.api_url)  # noqa: E731
        with anyio.fail_after(LIMIT):
            code, out, err = await anyio.to_thread.run_sync(run)
            assert (code, err) == (0, "")
            assert "\nok    session     " in out
            assert discord.token not in out
            settings = read_settings(tmp_path / ".env").settings
            assert (settings.allowed_roles, settings.agent_env) == ((role,), ("SOME_KEY",))
            # The same again changes nothing and needs no leave; something else does.
            code, _, err = await anyio.to_thread.run_sync(run)
            assert (code, err) == (0, "")
            code, _, err = await anyio.to_thread.run_sync(run, "--health", "127.0.0.1:1")
            assert (code, err) == (78, "weft: .env is there already: --yes has it changed, the old one is kept\n")
            code, _, _ = await anyio.to_thread.run_sync(run, "--health", "127.0.0.1:1", "--yes")
            assert code == 0
    assert len(copies(tmp_path)) == 1


def test_all_that_is_missing_or_wrong_is_said_at_once(tmp_path: Path) -> None:
    """R8: with the exit code for what a person has to mend, and nothing written."""
    code, out, err = init(
        tmp_path,
        *("--non-interactive", "--offline", "--agent", "no-such-agent acp", "--project", "/no/such"),
        *("--allow-role", "team", "--approver-role", PERSON, "--health", "0.0.0.0:1"),
        DISCORD_TOKEN="canary",
    )
    assert (code, out) == (78, "")
    begin = ["this is not a bot token", "no-such-agent was not found", "the workspace is missing", "/no/such: "]
    begin += ["'team' is not the id of a role", "'0.0.0.0' is not a loopback address"]
    assert [line[: 6 + len(text)] for line, text in zip(err.splitlines(), begin, strict=True)] == [
        f"weft: {text}" for text in begin
    ]
    assert "canary" not in err
    assert not (tmp_path / ".env").exists()


def test_a_weft_toml_that_is_there_goes_on_saying_which_agents_there_are(tmp_path: Path) -> None:
    """R8, P12: nothing else is asked for than what it does not say."""
    command = agent(tmp_path / "one")
    said = f'[agents.mine]\ncommand = """{command}"""\nworkspace = "{tmp_path}"\n'
    (tmp_path / "weft.toml").write_text(said)
    given = {"DISCORD_TOKEN": "any.canary", "WEFT_DISCORD_API": "http://127.0.0.1:1"}
    code, out, err = init(tmp_path, "--non-interactive", "--offline", **given)
    assert (code, err) == (0, "")
    assert "\nok    session     mine: opened" in out
    assert (tmp_path / "weft.toml").read_text() == said
    assert "WEFT_WORKSPACE" not in (tmp_path / ".env").read_text()
    code, out, err = init(tmp_path, "--non-interactive", "--offline", "--project", str(tmp_path), **given)
    assert code == 78
    assert "weft.toml is there already: write it there, or give --agent, too" in err


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    """R8: such as what a terminal sends in another encoding than its settings say."""
    code, _, err = init(
        tmp_path, "--non-interactive", "--workspace", "/srv/a\nb", "--allow-user", "an\udce9", DISCORD_TOKEN="x"
    )
    assert code == 78
    assert err.count("there are characters in it that can't be shown") == 2
    code, _, err = init(tmp_path, "--non-interactive", "--agent-env", "A B")
    assert code == 2
    assert "'A B' is not the name of a variable" in err


def test_without_a_terminal_it_asks_nothing(tmp_path: Path) -> None:
    """R8: usage, as the command line is what is wrong."""
    code, out, err = init(tmp_path)
    assert (code, out) == (2, "")
    assert "run it in a terminal" in err


def test_the_examples_and_the_pages_are_copied_out_and_nothing_is_overwritten(tmp_path: Path) -> None:
    """R8: for who has no checkout."""
    (tmp_path / "weft.toml.example").write_text("mine")
    code, out, err = init(tmp_path, "--examples", str(tmp_path))
    assert (code, err) == (0, "")
    assert out.startswith("Copied ")
    assert (tmp_path / "weft.toml.example").read_text() == "mine"
    assert (tmp_path / ".env.example").read_bytes() == packaged.file(".env.example").read_bytes()
    assert (tmp_path / "docs" / "configuration.md").is_file()
