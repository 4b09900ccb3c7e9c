"""What systemd thinks of the units: no complaint, and how far the service is exposed (R3)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bot.service.unit import NAME, STRICT_NAME, Plan, strict, unit

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")


def plan(directory: Path, **change: object) -> Plan:
    fields = {
        "python": Path("/usr/bin/true"),
        "prefixes": (Path("/home/some one/.venv"), Path("/usr")),
        "env_file": directory / "100 % mine" / "env",
        "run_as": "weft",
        "token_file": directory / "token",
        "sealed_token": None,
        "writable": (Path("/srv/the projects"), Path('/home/weft/with "quotes"')),
    }
    return Plan(**(fields | change))  # type: ignore[arg-type]


def written(directory: Path, wanted: Plan, *, with_strict: bool = False) -> str:
    path = directory / NAME
    path.write_text(unit(wanted))
    if with_strict:
        (directory / f"{NAME}.d").mkdir()
        (directory / f"{NAME}.d" / STRICT_NAME).write_text(strict(wanted))
    return str(path)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("run_as", "with_strict"), [("weft", False), ("weft", True), (None, False)], ids=["system", "strict", "own"]
)
def test_the_unit_has_no_faults(
    tmp_path: Path, run_as: str | None, with_strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3: paths may have spaces, quotes and percent signs."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # a user's own systemd has one
    path = written(tmp_path, plan(tmp_path, run_as=run_as), with_strict=with_strict)
    done = analyze(*(["--user"] if run_as is None else []), "verify", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("with_strict", "limit"), [(False, 4.7), (True, 2.1)])
def test_the_service_is_not_exposed_more_than_it_has_to_be(
    tmp_path: Path, with_strict: bool, limit: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """R3: the figures are printed; 9.2 would be a service without any limits."""
    path = written(tmp_path, plan(tmp_path), with_strict=with_strict)
    done = analyze("security", "--offline=yes", "--no-pager", path)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    with capsys.disabled():
        print(f"\n{'strict' if with_strict else 'default'} unit: exposure {found[1]} (at most {limit})")  # noqa: T201
    assert float(found[1]) <= limit
