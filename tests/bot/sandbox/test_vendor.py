"""The page's libraries are those that `scripts/vendor` names, unchanged, and each has its licence beside it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "bot" / "sandbox" / "page"
VENDOR = PAGE / "vendor"
SCRIPT = (Path(__file__).parents[3] / "scripts" / "vendor").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (VENDOR / "README.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| file", "| ---"))
]
LICENCES = {"MIT": "Permission is hereby granted", "BSD-3-Clause": "Redistribution and use", "MPL-2.0": "Apache"}
REFUSED = re.compile(
    r"insertAdjacentHTML|document\.write|\beval\(|new Function|unsafe|srcdoc|javascript:|\sstyle=|\son[a-z]+=[\"$]"
)
IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*["'](\.[^"']*)["']""")


def test_every_file_of_a_library_is_in_the_table_with_its_hash_and_the_script_s_version() -> None:
    assert {VENDOR / row[0] for row in ROWS} == set(VENDOR.rglob("*.*js"))
    for file, package, version, _, digest in ROWS:
        assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest, file
        assert f"\nfetch {package} {version} " in SCRIPT, package


def test_every_library_has_its_licence_beside_it_and_a_bundle_those_of_its_parts() -> None:
    for file, _, _, licence, _ in ROWS:
        text = (VENDOR / file.split("/")[0] / "LICENSE").read_text()
        assert LICENCES[licence.split()[0]] in text, file
    bundled = {one.stem for one in (VENDOR / "markdown-it" / "bundled").iterdir() if one.stat().st_size > 500}
    assert bundled == {"entities", "linkify-it", "mdurl", "punycode.js", "uc.micro"}


def test_the_page_s_modules_import_what_is_there_and_every_library_that_is_there() -> None:
    left, seen = [PAGE / "main.js"], set[Path]()
    while left:
        module = left.pop().resolve()
        if module not in seen:
            seen.add(module)
            left += [module.parent / name for name in IMPORT.findall(module.read_text())]
    assert {one.resolve() for one in PAGE.rglob("*.*js")} == seen


def test_our_modules_make_markup_in_no_way_that_the_page_s_policy_refuses() -> None:
    """The browser refuses it as well, but only where a line is run."""
    ours = [one for one in PAGE.rglob("*.*") if one.suffix in (".js", ".html") and VENDOR not in one.parents]
    assert ours
    for module in ours:
        assert REFUSED.findall(module.read_text()) == [], module
