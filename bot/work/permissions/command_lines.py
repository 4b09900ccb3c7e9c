"""What a command line runs, told in two ways that err on opposite sides (pure).

`exact_words` is for allowing: the words of a line that is one command with nothing in it that any shell would expand,
else None. `runs_of` is for forbidding: every command that a line may run, however it is wrapped, and how far that can
be told. Patterns are held against them in `bot.work.permissions.command_patterns`. Nothing is run, looked up or
expanded here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bot.reply.sanitise import spelled
from bot.work.permissions.shell_reader import ASSIGNMENT, MOST_NESTED, ShellReader, UnreadableError, Words

_LONGEST_EXACT, _LONGEST_READ = 8_192, 32_768
_MOST_COMMANDS, _MOST_WORDS = 500, 500
MOST_ARGUMENTS = 50
"""Of a program that nobody knows here, at how many arguments a command is looked for."""
_MOST_READ = 100_000
_MOST_LOOKED_AT = 4_000
"""Characters that are read of a line and what it runs in turn, and words of all its commands: every thread waits for
this, and a command that has a launcher in each word, as in ``npx npx ...``, has very many."""


def names_in(text: str) -> frozenset[str]:
    """Return the words of a text as a set: these are many, and a line for each of them would hide them all."""
    return frozenset(text.split())


_POSIX = names_in("sh bash dash zsh ksh mksh ash rbash")
_SHELLS = _POSIX | {"fish", "csh", "tcsh", "pwsh"}

_WRAPPERS = names_in(
    "env sudo doas su runuser chroot nice ionice chrt taskset nohup setsid stdbuf unbuffer timeout time watch "
    "xargs parallel ssh flock unshare nsenter script strace ltrace systemd-run at batch crontab entr prlimit "
    "setpriv firejail bwrap torsocks proxychains caffeinate rlwrap tmux screen pkexec busybox"
)
_RUNNING_BUILTINS = names_in(
    ". alias bind builtin command compgen complete emulate eval exec fc jobs noglob repeat sched source trap"
)
_CHANGING_BUILTINS = names_in(
    ": autoload bg break caller compopt continue declare dirs disown enable exit export fg functions getopts hash "
    "help history let local logout mapfile popd print printf pushd read readarray readonly return set setopt "
    "shift shopt string suspend test times typeset ulimit umask unalias unset unsetopt vared wait zcompile zle "
    "zmodload"
)
"""They change what comes next, or run what is in a quoted argument: ``printf -v 'a[$(id)]'`` runs ``id``."""

_RESERVED = names_in(
    "if then else elif fi case esac for foreach select while until do done in function coproc end begin and or "
    "not switch ! { }"
)
_LAUNCHERS = names_in(
    "npx npm pnpm yarn bunx bun uv uvx poetry pipenv pipx hatch tox nox conda mamba mise asdf direnv nix "
    "nix-shell docker podman kubectl make just bundle rbenv pyenv nvm dotenv doppler op vagrant gh cargo go"
)
"""Programs that may run a command among their arguments beside what else they do; only for forbidding."""

_TAKES_LINES = names_in(
    "su runuser watch parallel ssh flock script entr tmux screen eval trap alias emulate nix-shell bind sched "
    "complete compgen"
)
_TAKES_DATA = names_in(
    "echo printf cat ls cp mv rm mkdir rmdir touch ln chmod chown stat file head tail wc sort uniq cut tr diff cmp tee "
    "grep egrep fgrep cd pwd test [ [[ true false sleep which type whatis basename dirname realpath date "
    "kill pkill killall pgrep ps apt apt-get apt-cache dnf yum apk brew pip pip3 git jq yq sha256sum md5sum df du"
)
"""Programs whose arguments are no commands, whatever they look like, unless they are in an option or in doubt."""
_DOUBTED = names_in("apt apt-get dnf yum apk brew pip pip3")
_OF_GIT = names_in(
    "add am blame branch checkout cherry-pick commit diff log merge mv reset restore rm show stash status switch tag"
)
_INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|node|deno|php|lua|tclsh|rscript|osascript|[gnm]?awk|ed|vim?)[\d.]*")
_OPERANDS = {"ssh": 1, "chroot": 1, "flock": 1, "su": 1, "runuser": 1, "taskset": 1, "script": 1, "repeat": 1}
_FIND_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_FIND_CHANGES = _FIND_RUNS | {"-delete", "-fprint", "-fprint0", "-fprintf", "-fls"}
_NOT_FOR_GLOBS = (_SHELLS, _WRAPPERS, _RUNNING_BUILTINS, _CHANGING_BUILTINS, _RESERVED)

# --- for allowing -------------------------------------------------------------------------------------------------

# What bash, dash, zsh and fish read alike. Left out although bash takes it literally: a backslash (fish reads it in
# single quotes), "!" (history), "^" and "~" (globs of zsh), words that begin with "=" or "%" (zsh, jobs), tabs (a
# terminal completes), all that is not ASCII.
#
# Atomic groups, so that no line takes long. Not ")++": before Python 3.11.5 a possessive quantifier after a group
# matches what the group does not, here a quote that is never closed (CPython 106052).
_WORD = r"""(?![=%])(?>(?:[A-Za-z0-9_./:@%+,=-]|'[ -&(-\[\]-~]*+'|"[ #%-\[\]-_a-~]*+")+)"""
_LINE = re.compile(rf" *+{_WORD}(?>(?: ++{_WORD})*) *+")
_PROGRAM = re.compile(r"[A-Za-z0-9_./+][A-Za-z0-9_./+-]*")


def exact_words(line: str) -> tuple[str, ...] | None:
    """Return the words of a line that is one command of literal words for every shell; None if it is not."""
    if len(line) > _LONGEST_EXACT or not _LINE.fullmatch(line):
        return None
    words = tuple(shlex.split(line))
    # No assignment and no word of the grammar: after those, the command is another one.
    return words if _PROGRAM.fullmatch(words[0]) and words[0] not in _RESERVED else None


def script_of(words: Sequence[str]) -> str | None:
    """Return the line in ``bash -c LINE``, as some agents send every command; None if that is not all of it."""
    if len(words) != 3 or words[1] not in ("-c", "-lc"):
        return None
    directory, _, shell = words[0].rpartition("/")
    known = directory in ("", "/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin") and shell in _POSIX
    return words[2] if known else None


def runs_others(words: Sequence[str]) -> bool:
    """Return whether a command is there to run, or to change, what its arguments say."""
    program = words[0].rpartition("/")[2]
    if program == "find":
        return not _FIND_CHANGES.isdisjoint(words)
    return any(program in names for names in _NOT_FOR_GLOBS)


# --- for forbidding -----------------------------------------------------------------------------------------------


def values_in(option: str) -> list[str]:
    """Return what may be the value in an option that is one word with it: ``--exec=rm``, ``-xrm``, also ``-ixrm``."""
    if not option.startswith("-"):
        return []
    name, sign, value = option.partition("=")
    if sign or name.startswith("--"):
        return [value] if value else []
    return [option[at:] for at in range(2, min(len(option), 6))]


@dataclass(slots=True)
class Runs:
    """What a line may run.

    Attributes:
        text: the line.
        commands: those that were found, and what they run in turn.
        arguments: the words of programs that nobody knows here: a command may begin at each.
        doubtful: there is more in it than its words say, such as a here-document or code of another language: a
            pattern whose words are mentioned in it may match.
        unreadable: it may run anything.
        read: how many characters were read for it.
        looked_at: how many words all commands have, also those that were ``seen`` before.
    """

    text: str
    commands: list[Words] = field(default_factory=list)
    arguments: list[Words] = field(default_factory=list)
    doubtful: bool = False
    unreadable: bool = False
    read: int = 0
    seen: set[Words] = field(default_factory=set)
    looked_at: int = 0


def runs_of(command: str | Sequence[str]) -> Runs:
    """Return all that a line, or a command of some words, may run."""
    runs = Runs(command if isinstance(command, str) else shlex.join(command))
    if isinstance(command, str):
        _read_line(command, runs, 0)
    elif sum(map(len, command)) > _LONGEST_READ:
        runs.unreadable = True
    else:
        _unwrap(tuple(command), runs, 0)
    return runs


def _unwrap(words: Words, runs: Runs, depth: int) -> None:
    """Note a command and what it runs in turn."""
    # 1. The command itself, within bounds.
    first = next((at for at, word in enumerate(words) if word is None or not ASSIGNMENT.match(word)), len(words))
    words, runs.doubtful = words[first:], runs.doubtful or first > 0
    if not words:
        return
    if depth > MOST_NESTED or len(runs.commands) >= _MOST_COMMANDS or runs.looked_at > _MOST_LOOKED_AT:
        runs.unreadable = True
        return
    # Counted before it is known: a line that repeats one command without end costs the look, too.
    runs.looked_at += len(words)
    # Nothing new, and commands that lead back to each other come to an end.
    if words in runs.seen:
        return
    runs.seen.add(words)
    runs.commands.append(words)
    if len(words) > _MOST_WORDS:
        runs.unreadable = True
        return
    program, known = (words[0] or "").rpartition("/")[2].lower(), [word for word in words[1:] if word is not None]
    # 2. What any program may run: what is quoted, whoever gets it, and what is in an option (sort --compress-program).
    runs.doubtful |= any(re.search(r"\$\(|`|^-.*\s", word) for word in known)
    for value in (value for word in known[:MOST_ARGUMENTS] if word.startswith("-") for value in values_in(word)):
        runs.unreadable |= len(runs.arguments) >= _MOST_COMMANDS
        if not runs.unreadable:
            runs.arguments.append((value,))
    # 3. What this one runs, as far as it is known.
    if program in _SHELLS:
        _unwrap_shell(words, runs, depth)
    elif program in _RESERVED:
        for at in (1, *(number + 1 for number, word in enumerate(words) if number and word == "{")):
            _unwrap(words[at:], runs, depth + 1)
    elif program == "find":
        for at, word in enumerate(words):
            if word in _FIND_RUNS:
                # Where braces stand, find puts paths in.
                _unwrap(_filled_in(words[at + 1 :]), runs, depth + 1)
    elif program in _WRAPPERS or program in _RUNNING_BUILTINS or program in _LAUNCHERS:
        # What these run comes from elsewhere: a file, their input.
        runs.unreadable |= program in ("at", "batch", "crontab") or any(word.startswith("/dev/") for word in known[:1])
        for at in _starts(program, words):
            inner = words[at:]
            # These two add words that nobody knows before.
            _unwrap((*_filled_in(inner), None) if program in ("xargs", "parallel") else inner, runs, depth + 1)
        if program in _TAKES_LINES:
            for line in (*(word for word in known if re.search(r"[\s;&|$`]", word)), " ".join(known)):
                _read_line(line, runs, depth + 1)
        for number, word in enumerate(known):
            if program == "env" and (split := re.match(r"-[A-Za-z]*S|--split[a-z-]*=?", word)):
                _read_line(" ".join([word[split.end() :], *known[number + 1 :]]), runs, depth + 1)
    elif program in _TAKES_DATA:
        if program == "git":
            # Many a subcommand runs what it is given, and an alias may be a line for a shell: -c alias.x='!sh'.
            runs.doubtful |= next((word for word in known if not word.startswith("-")), "") not in _OF_GIT
            runs.doubtful |= any(word.startswith(("-c", "--config-env")) for word in known)
            runs.unreadable |= any(re.match(r"(-c)?[\w.-]+=\s*!", word) for word in known)
        runs.doubtful |= program in _DOUBTED and any(re.search(r"\s", word) for word in known)
    else:
        # It may be one more that runs its arguments, or code of another language.
        runs.arguments.append(words[1:])
        in_words = any(re.search(r"\s", word) for word in known)
        runs.doubtful |= in_words or len(words) > MOST_ARGUMENTS or _INTERPRETERS.fullmatch(program) is not None


def _unwrap_shell(words: Words, runs: Runs, depth: int) -> None:
    operands = [word for word in words[1:] if word is None or not word.startswith(("-", "+"))]
    flags = "".join(word for word in words[1:] if word and word.startswith("-") and not word.startswith("--"))
    runs.doubtful = True
    # Then it reads what it runs from elsewhere.
    if not operands or "s" in flags or any((word or "").startswith("/dev/") for word in operands):
        runs.unreadable = True
    for word in operands:
        _read_line(word, runs, depth + 1)


def _filled_in(words: Words) -> Words:
    return tuple(None if word is None or "{}" in word else word for word in words)


def _starts(program: str, words: Words) -> Iterator[int]:
    """Yield at which words the command may begin that a program runs."""
    if program in _LAUNCHERS:
        yield from (at for at, word in enumerate(words) if at and word is not None)
        return
    # Options, their values, assignments and times come before it.
    operands, after_option = _OPERANDS.get(program, 0), False
    for at, word in enumerate(words[1:], start=1):
        yield at
        if word is None:
            after_option = False
        elif word.startswith(("-", "+")):
            after_option = True
        elif ASSIGNMENT.match(word) or re.fullmatch(r"[\d.]+[smhd]?", word) or after_option:
            after_option = False
        elif operands:
            operands -= 1
        else:
            return


def _read_line(line: str | None, runs: Runs, depth: int) -> None:
    runs.read += len(line or "")
    too_much = len(line or "") > _LONGEST_READ or runs.read > _MOST_READ or depth > MOST_NESTED
    if line is None or too_much or spelled(line) != line:
        runs.unreadable = True
        return
    reader = ShellReader(line, depth)
    try:
        reader.read()
    except UnreadableError:
        runs.unreadable = True
    # What was found before it became unreadable counts all the same: a deny rule may match it for certain.
    runs.doubtful |= reader.doubtful
    for words in reader.commands:
        _unwrap(words, runs, depth + 1)
