"""Writes answers as ``.env`` and ``weft.toml``, so that `bot.config` reads back exactly them (pure).

Sources: python-dotenv's parser and its interpolation, which quotes do not keep out; TOML 1.0, basic strings.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping

from dotenv.parser import parse_stream

from bot.setup.answers import Answers

_PLAIN = re.compile(r"[\w./:@%+,=-]+(?: [\w./:@%+,=-]+)*", re.ASCII)
_HEADER = (
    "# Written by `weft init`. It holds the bot's token: keep it to yourself (mode 600). All settings are in\n"
    "# .env.example and docs/configuration.md; `weft init --examples DIR` copies both out.\n"
)
_FILE_HEADER = (
    "# Written by `weft init`. weft.toml.example and docs/configuration.md explain each key; changes need a restart.\n"
)


def env_value(value: str) -> str:
    """Return a value as ``.env`` has it; it must be printable."""
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    # In quotes too, ${NAME} is replaced. A variable without a name is never set, so this has always its default: "$".
    escaped = escaped.replace("${", "${:-$}{")
    # Before python-dotenv 1.2 a backslash before the closing quote takes that for a part of the value, escaped or not.
    return f"'{escaped}${{:-}}'" if value.endswith("\\") else f"'{escaped}'"


def env_text(answers: Answers, old: str = "") -> str:
    """Return the text of ``.env``: what ``old`` says of other settings stays as it is, comments and all."""
    wanted = answers.settings()
    if not old.strip():
        return _HEADER + "".join(f"{name}={env_value(value)}\n" for name, value in wanted.items() if value)
    said, parts = set(), []
    for binding in parse_stream(io.StringIO(old)):
        name, text = (binding.key or "").upper(), binding.original.string
        # As it stands, with its comments and blanks.
        if name not in wanted:
            parts.append(text)
        elif name not in said:  # a second line would go before the first one
            said.add(name)
            blank = text[: len(text) - len(text.lstrip())]
            parts.append(f"{blank}{name}={env_value(wanted[name]) if wanted[name] else ''}\n")
    kept = "".join(parts)
    gap = "" if kept.endswith("\n") or not kept else "\n"
    return kept + gap + "".join(_lines(wanted, said))


def _lines(wanted: Mapping[str, str], said: set[str]) -> list[str]:
    return [f"{name}={env_value(value)}\n" for name, value in wanted.items() if value and name not in said]


def toml_string(value: str) -> str:
    """Return a text as TOML has it: JSON's escapes are all TOML's, and DEL is the one more that it wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_words(words: tuple[str, ...]) -> str:
    """Return a list of texts as TOML has it."""
    return f"[{', '.join(map(toml_string, words))}]"


def agents_text(answers: Answers) -> str:
    """Return the text of ``weft.toml``; names need no quotes, as only such are allowed."""
    parts = [_FILE_HEADER, f"default = {toml_string(answers.agents[0].name)}\n"]
    for agent in answers.agents:
        env = f"env = {toml_words(agent.env)}\n" if agent.env else ""
        parts.append(f"\n[agents.{agent.name}]\ncommand = {toml_words(agent.command)}\n{env}")
    for project in answers.projects:
        where = f"path = {toml_string(str(project.path))}\nbase = {toml_string(project.base)}\n"
        parts.append(f"\n[projects.{project.name}]\n{where}")
    return "".join(parts)
