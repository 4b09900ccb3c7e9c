"""What an earlier run left behind is ended by its mark, except for who looks for it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOK = """
import anyio, sys
from acp.ladder import StopLimits, end_strays
report = anyio.run(end_strays, "WEFT_STATE", sys.argv[1], StopLimits())
print(report.stage.value, report.leaked_pids())
"""


@pytest.mark.parametrize(
    ("started_by", "stage"), [([], "gone"), (["sh", "-c", '"$@"; true', "sh"], "term")], ids=["alone", "by a stray"]
)
def test_a_bot_that_a_stray_started_does_not_end_itself(started_by: list[str], stage: str) -> None:
    """P9: an agent that starts the next bot hands its mark on, and is the bot's ancestor as well."""
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [*started_by, sys.executable, "-c", LOOK, mark],
        cwd=ROOT,
        env={**os.environ, "WEFT_STATE": mark},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == f"{stage} ()\n", done.stderr
