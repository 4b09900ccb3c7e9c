"""What changed in a workspace, as a person reads it who asked for it (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from acp.snapshot import Diff
from bot.reply.fallback import diff_texts
from bot.reply.port import Attachment
from bot.reply.sanitise import code_block, inline_code, units

FILE_NAME = "changes.diff"
MOST_LINES = 30
"""Lines of a change that a message shows; a longer one is a file (V3)."""

_MOST_NAMED = 10
_NAME = 80
_MESSAGE = 2_000  # units


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file with the lines that came and went; None: it is not compared line by line."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed; ``cut``: the diff had more than is kept."""

    files: tuple[ChangedFile, ...]
    patch: bytes
    cut: bool = False


def reported_changes(diffs: Iterable[Diff], most: int) -> Changes:
    """Return what tools reported, with at most ``most`` bytes of diff; may take a second."""
    counts: dict[str, tuple[int, int]] = {}
    texts: list[str] = []
    kept = list(diffs)
    for diff, text in zip(kept, diff_texts((one.path, one.old, one.new) for one in kept), strict=True):
        # Counted in what is shown, so that the two never differ; the first two lines name the file.
        lines = text.split("\n")[2:]
        before = counts.get(diff.path, (0, 0))
        added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        counts[diff.path] = before[0] + added, before[1] + removed
        texts += [text] if text else []
    patch = "".join(f"{text}\n" for text in texts).encode(errors="replace")
    return Changes(tuple(ChangedFile(path, *lines) for path, lines in counts.items()), patch[:most], len(patch) > most)


def changes_message(changes: Changes, since: str, notes: Sequence[str] = ()) -> tuple[str, Attachment | None]:
    """Return a message of at most 2,000 units and its file, if the diff does not fit into the message.

    Args:
        since: what it was compared with, behind the counts.
        notes: sentences below the files.
    """
    files = changes.files
    lines = [f"{_count(len(files), 'file')}{_signs(files)} {since}"]
    lines += [
        f"{inline_code(file.path, _NAME)}{_signs([file]) or ' (binary or large)'}" for file in files[:_MOST_NAMED]
    ]
    lines += [f"-# and {_count(len(files) - _MOST_NAMED, 'more file')}"] if len(files) > _MOST_NAMED else []
    # Only whole lines: of a secret that the cut divides, the rest would not be recognised.
    patch = changes.patch[: changes.patch.rfind(b"\n") + 1] if changes.cut else changes.patch
    text = "\n".join([*lines, *(f"-# {note}" for note in notes)])
    if not changes.cut and patch.count(b"\n") <= MOST_LINES:
        whole = f"{text}\n{code_block(patch.decode(errors='replace'), 'diff')}" if patch.strip() else text
        if units(whole) <= _MESSAGE:
            return whole, None
    if changes.cut:
        text += f"\n-# `{FILE_NAME}` ends after {len(patch) / 2**20:,.0f} MiB: there is more than that."
    return text, Attachment(FILE_NAME, patch)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _signs(files: Sequence[ChangedFile]) -> str:
    """Return the lines that came and went; nothing where none is counted."""
    counted = [(file.added, file.removed or 0) for file in files if file.added is not None]
    if not counted:
        return ""
    return f" +{sum(added for added, _ in counted):,} −{sum(removed for _, removed in counted):,}"
