"""The accounts of the booted machine: the service's user is the tests', whatever this machine has by its name (R3)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.systemd.machine import BOOT

OF_THE_MACHINE = {
    "passwd": "root:x:0:0::/root:/bin/sh\nweft:x:999:999::/srv/weft:/bin/sh\nother:x:60990:60990::/:/bin/sh\n",
    "group": "root:x:0:\nweft:x:999:root\nother:x:60990:\ndocker:x:7:weft\nadm:x:4:weft,a\nstaff:x:5:a,weft\n",
    "shadow": "root:*:1::::::\nweft:!:1::::::\n",
    "nsswitch.conf": "passwd: files ldap\n",
}


@pytest.mark.parametrize("known", [OF_THE_MACHINE, {"passwd": "root:x:0:0::/root:/bin/sh\n", "group": "root:x:0:\n"}])
def test_the_services_user_is_the_tests_own(tmp_path: Path, known: dict[str, str]) -> None:
    for name, text in known.items():
        (tmp_path / name).write_text(text)
    subprocess.run([BOOT.with_name("accounts"), tmp_path, "60990"], check=True, timeout=120)
    passwd, group = ((tmp_path / name).read_text().splitlines() for name in ("passwd", "group"))
    assert passwd == ["root:x:0:0::/root:/bin/sh", "weft:x:60990:60990::/var/lib/weft:/usr/sbin/nologin"]
    assert [line for line in group if "weft" in line] == ["weft:x:60990:"]
    assert set(group) >= ({"docker:x:7:", "adm:x:4:a", "staff:x:5:a"} if "docker" in known["group"] else set())
    assert "ldap" not in (tmp_path / "nsswitch.conf").read_text()
