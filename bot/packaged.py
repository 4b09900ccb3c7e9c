"""The files that come with Weft beside its code: documentation, examples of settings, what makes a container.

They are named as in the repository. A checkout has them where they are; a wheel has copies of them below
``bot/_packaged``, which `scripts/hatch_build.py` puts there by the same list. That script loads this module without the
rest of the bot, so nothing but the standard library is imported here.
"""

from __future__ import annotations

from pathlib import Path

PATTERNS = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    ".env.example",
    "weft.toml.example",
    "Containerfile",
    "compose.yaml",
    "examples/**/*",
    "docs/**/*.md",
)
"""What comes along, as globs from the top. Pictures do not: they would be most of a wheel."""

COPIES = Path(__file__).parent / "_packaged"
"""Where a wheel has them."""


def files() -> dict[str, Path]:
    """Return where each file can be read, by its name: ``docs/guide.md``."""
    # The copies first: above an installed package lies a directory of all packages, whose README.md would be another's.
    return files_below(COPIES if COPIES.is_dir() else Path(__file__).parents[1])


def file(name: str) -> Path:
    """Return where one file can be read.

    Raises:
        KeyError: none of this name comes along.
    """
    return files()[name]


def files_below(top: Path) -> dict[str, Path]:
    """Return the files that the list finds below a directory, sorted by name."""
    # A set, as patterns may overlap; files only, as `**` finds directories as well.
    found = {path for pattern in PATTERNS for path in top.glob(pattern) if path.is_file()}
    return {path.relative_to(top).as_posix(): path for path in sorted(found)}
