"""The conversation of ``weft init``: a question after the other, each with why it is asked, checked at once.

Nothing is written here, so that it can be left anywhere. Lines are short, and numbers and Enter suffice: it may be held
on a phone.
"""

from __future__ import annotations

import getpass
import shlex
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import click

from bot.config import ConfigError
from bot.ops.doctor.finding import Finding, Verdict, harmless, several
from bot.preflight import token_of
from bot.setup.answers import KNOWN, Agent, Answers, Project
from bot.setup.options import Options, Present, ids_of
from bot.setup.portal import Account, Portal
from bot.setup.reading import (
    found_agents,
    read_agent,
    read_health,
    read_project,
    read_token,
    read_workspace,
    try_agent,
)

T = TypeVar("T")

_WELCOME = "Weft's set-up, in 5 steps. Nothing is written before the end: Ctrl-C leaves everything as it is."
_ABOUT_THE_BOT = (
    "Weft speaks in Discord as a bot, and the token is its password. In https://discord.com/developers/applications:"
    " New Application, then Bot, Reset Token. What you paste is not shown."
)
_WHY_AGENT = "The agent is the program that does the work. It runs on this machine, with your rights."
_WHY_WORKSPACE = (
    "The directory in which the agent works, such as your project. {thread_id} in it gives each thread its own."
)
_WHY_MORE = "With git repositories as projects, each thread has its own branch. Of several agents, each thread has one."
_WHY_PEOPLE = "Whoever may write to the bot can run commands as you, through the agent. You own it, and always may."


@dataclass(slots=True)
class Conversation:
    """Asks; what was given as an option is checked like an answer, and asked for only if it is wrong.

    The mutable state is ``account``, what Discord said of the token.
    """

    options: Options
    present: Present
    account: Account = Account(())  # noqa: RUF009  it is frozen

    def answers(self) -> Answers:
        """Return what was answered.

        Raises:
            click.Abort: the person left.
        """
        _say(_WELCOME)
        token = self._token()
        agents, as_file = self._agents()
        workspace = self._workspace(said=not agents)
        projects: list[Project] = []
        if agents:
            agents, projects = self._more(agents)
        answers = Answers(token, tuple(agents), workspace, tuple(projects), as_file=as_file)
        return self._optional(self._people(answers))

    # --- the token ----------------------------------------------------------------------------------------------

    def _token(self) -> str:
        _step(1, "The bot's token", _ABOUT_THE_BOT)
        given = self.options.token
        if given:
            _say("Taken from where you gave it.")
        elif (kept := token_of(self.present.settings)) and _yes(f"Keep the one in {self.present.env_file}?"):
            given = kept
        while True:
            token = _until_right(_hidden, lambda text: read_token(text, self.present.settings.discord_api), given)
            # What was given has had its try: from now on it is asked for.
            given = ""
            if self.options.offline:
                _say("Not asked of Discord: whether it takes the token, and the Message Content intent.")
                return token
            self.account = Portal(self.present.api, token).account()
            _show(self.account.findings)
            if not self.account.refused:
                self._intent(token)
                return token

    def _intent(self, token: str) -> None:
        """Look again until the intent is on, or the person goes on without."""
        while not self.account.reads_content:
            if click.prompt("Enter: look again · s: skip", default="", show_default=False).strip().lower() == "s":
                return
            self.account = Portal(self.present.api, token).account()
            _show(self.account.findings)

    # --- agents -------------------------------------------------------------------------------------------------

    def _agents(self) -> tuple[list[Agent], bool]:
        """Return the agents, none if a file that is there goes on saying them; and whether they need the file."""
        _step(2, "The agent", _WHY_AGENT)
        there = self.present.settings.agents_file is not None
        if there and not self.options.agents and _yes(f"Keep {self.present.agents_file} as it is?"):
            return [], True
        agents: list[Agent] = []
        # One question at least; an empty text has it asked.
        for text in self.options.agents or ("",):
            agents.append(self._agent(agents, text))
        return agents, there

    def _agent(self, others: Sequence[Agent], given: str = "") -> Agent:
        while True:
            agent = self._chosen_agent([one.name for one in others], given)
            if self._works(agent):
                return agent
            given = ""

    def _chosen_agent(self, taken: Sequence[str], given: str) -> Agent:
        found = [shlex.join(one.command) for one in found_agents()]
        usual = shlex.join(self.present.settings.agent_command) if not taken else ""

        def ask() -> str:
            for number, command in enumerate(found, 1):
                click.echo(f"  {number}) {command}")
            if not found:
                known = ", ".join(one.command[0] for one in KNOWN)
                _say(f"On the PATH there is none of {known}. Install one (docs/agents.md), or give another command.")
            what = "Number, or a command" if found else "Command"
            return _answer(what, usual or ("1" if found else ""))

        def read(text: str) -> Agent:
            chosen = found[int(text) - 1] if text.isdecimal() and 0 < int(text) <= len(found) else text
            return read_agent(chosen, taken)

        agent = _until_right(ask, read, given)
        # No key is handed over unasked: an agent sees only what it is given by name (R5).
        return replace(agent, env=self.options.agent_env or self._keys(agent))

    def _keys(self, agent: Agent) -> tuple[str, ...]:
        """Return the variables with keys that a known agent is to be given; it sees no others than it is given."""
        there = [name for name in (agent.known.keys if agent.known else ()) if self.present.environment.get(name)]
        return tuple(name for name in there if _yes(f"{name} is set here. May the agent have it?"))

    def _works(self, agent: Agent) -> bool:
        """Start the agent until it works or is taken as it is; False: another one is wanted."""
        while True:
            click.echo("Starting it once, which can take a while ...")
            findings = try_agent(agent, self.present.settings, self.present.environment)
            _show(findings)
            if all(one.verdict is not Verdict.FAIL for one in findings):
                return True
            if agent.known:
                _say(f"If it wants a login: {agent.known.login}, in another terminal.")
            wish = click.prompt("Enter: try again · o: another one · k: keep it", default="", show_default=False)
            if wish.strip().lower() in ("o", "k"):
                return wish.strip().lower() == "k"

    # --- where it works -----------------------------------------------------------------------------------------

    def _workspace(self, *, said: bool) -> str:
        """Return where agents work; ``said``: a file that is there may say it."""
        _step(3, "The workspace", _WHY_WORKSPACE)
        usual = self.present.settings.workspace or ""
        given = self.options.workspace
        if said and not (given or usual):
            _say(f"That is for {self.present.agents_file} to say.")
            return ""
        while True:
            found = _until_right(lambda: _answer("Directory", usual), read_workspace, given)
            given = ""
            _show(one for one in found.cautions if one.verdict is not Verdict.OK)
            if not found.missing or _yes(f"{found.text} is not there. Make it at the end?"):
                return found.text

    def _more(self, agents: list[Agent]) -> tuple[list[Agent], list[Project]]:
        _step(4, "More agents and projects", _WHY_MORE)
        projects: list[Project] = []
        for text in self.options.projects:
            projects.append(self._project(text, projects))
        if self.options.projects or not _yes("Add some?", default=False):
            return agents, projects
        while text := _answer("Another agent's command (Enter: no more)", ""):
            agents = [*agents, self._agent(agents, text)]
        while text := _answer("A git repository's directory (Enter: no more)", ""):
            projects.append(self._project(text, projects))
        return agents, projects

    def _project(self, given: str, others: Sequence[Project]) -> Project:
        taken = [one.name for one in others]
        project = _until_right(
            lambda: _answer("Directory", ""), lambda text: read_project(text, taken, self.options.base), given
        )
        # Checked with the repository already.
        if self.options.base:
            return project
        base = _until_right(
            lambda: _answer("Branch that new ones begin at", project.base),
            lambda text: read_project(f"{project.name}={project.path}", taken, text).base,
        )
        return replace(project, base=base)

    # --- who ----------------------------------------------------------------------------------------------------

    def _people(self, answers: Answers) -> Answers:
        _step(5, "Who may use it", _WHY_PEOPLE)
        settings, options = self.present.settings, self.options
        # With the token that was just given: the one in the file may be another bot's.
        portal = None if options.offline else Portal(self.present.api, answers.token)
        if not (options.users or options.roles):
            click.echo("  1) only you\n  2) roles and people whom you name")
            usual = "2" if settings.allowed_users or settings.allowed_roles else "1"
            if _answer("Number", usual) == "1":
                return answers
            self._invite()
        roles = _until_right(
            lambda: _answer("Roles: names or ids, commas between (Enter: none)", _joined(settings.allowed_roles)),
            lambda text: ids_of("role", _listed(text), (), portal),
            ",".join(options.roles),
        )
        users = _until_right(
            lambda: _answer("People: names or ids, commas between (Enter: none)", _joined(settings.allowed_users)),
            lambda text: ids_of("user", _listed(text), (), portal),
            ",".join(options.users),
        )
        _say("What an agent asks, whoever gave it the work may answer. Approvers may answer for everybody.")
        approvers = _until_right(
            lambda: _answer("Roles that approve (Enter: none)", _joined(settings.approver_roles)),
            lambda text: ids_of("role", _listed(text), (), portal),
            ",".join(options.approvers),
        )
        return replace(answers, users=users, roles=roles, approvers=approvers)

    def _invite(self) -> None:
        """Names can be looked up only where the bot is."""
        if self.account.invitation and not self.account.guilds:
            _say("To look names up, Weft has to be in your server. Open this and choose it, or give ids below:")
            click.echo(self.account.invitation)
            click.prompt("Enter: go on", default="", show_default=False)
        elif self.account.guilds:
            _say(f"Looked up in {several([one.name for one in self.account.guilds])}.")

    def _optional(self, answers: Answers) -> Answers:
        _say("Last: `weft status` and monitoring need an address on this machine, such as 127.0.0.1:8085.")
        health = _until_right(
            lambda: _answer("Address for health (Enter: none)", self.present.settings.health or ""),
            read_health,
            self.options.health or "",
        )
        return replace(answers, health=health)


# --- asking ---------------------------------------------------------------------------------------------------------


def _until_right(ask: Callable[[], str], read: Callable[[str], T], given: str = "") -> T:
    """Return what is understood of an answer; ``given`` goes before the first question."""
    text = given
    while True:
        try:
            # What was given is tried once; after that a person answers.
            return read(text or ask())
        except ConfigError as exc:
            for problem in exc.problems:
                _say(f"Not yet: {problem}")
            text = ""


def _hidden() -> str:
    with warnings.catch_warnings():
        # Where the terminal can't hide what is typed, it would only be warned of, and the token be seen.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            text = str(click.prompt("Token (hidden)", hide_input=True))
        except getpass.GetPassWarning as exc:
            raise click.UsageError("this terminal can't hide the token: give it by --token-stdin") from exc
    click.echo(f"Read: {len(text)} characters.")  # or who pastes on a phone can't tell whether anything came
    return text


def _answer(what: str, usual: str) -> str:
    return str(click.prompt(what, default=usual, show_default=bool(usual))).strip()


def _yes(question: str, *, default: bool = True) -> bool:
    return click.confirm(question, default=default)


def _listed(text: str) -> list[str]:
    # Names of roles have spaces in them; ids may be parted by spaces alone, as settings have them.
    parts = [one.strip() for one in text.split(",") if one.strip()]
    return [word for one in parts for word in (one.split() if one.replace(" ", "").isdigit() else [one])]


def _joined(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def _step(number: int, title: str, why: str) -> None:
    click.echo(f"\n{number}/5 {click.style(title, bold=True)}")
    _say(why)


def _say(text: str) -> None:
    # What Discord and files say is in here, too.
    click.echo(click.wrap_text(harmless(text), width=min(shutil.get_terminal_size().columns, 100)))


def _show(findings: Iterable[Finding]) -> None:
    for finding in findings:
        # Its text was made harmless by the finding itself.
        click.echo(finding.line())
