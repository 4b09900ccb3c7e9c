"""A PostgreSQL server for the tests, from the distribution's packages; without them, tests are skipped and say so.

All workers of a run share one, which nothing but they can reach: it listens on a socket in a directory of its own.
Each worker holds a lock there, which goes with the process however that ends. A keeper waits for all these locks to be
gone, ends the server and removes the directory; if the keeper is killed, the kernel ends the server with it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import psycopg
import pytest

from pool.storage.model import StorageLimits
from pool.storage.postgres import Postgres
from tests.ports import free_port

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
_PATIENCE = 100.0
"""Seconds, less than a test may take: a server that does not come is to be told as that."""
_names = count()


def missing() -> str:
    """Return why there is no server here, or nothing."""
    if not _PROGRAMS:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and "postgres" not in (user.pw_name for user in pwd.getpwall()):
        return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


needed = pytest.mark.skipif(bool(missing()), reason=missing())


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        directory: of its socket and its files.
        port: only a name for its socket, unless it was started to listen on 127.0.0.1 as well.
    """

    directory: Path
    port: int

    def url(self, name: str = "postgres", schema: str = "") -> str:
        # Named after the schema, by which its connections are found.
        path = f"&options=-csearch_path%3D{schema}&application_name=weft%20{schema}" if schema else ""
        return f"postgresql:///{name}?host={self.directory}&port={self.port}&user=weft{path}"

    def tcp_url(self, port: int | None = None, name: str = "postgres", schema: str = "") -> str:
        path = f"?options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://weft:secret-word@127.0.0.1:{port or self.port}/{name}{path}"

    def pid(self) -> int:
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])


# --- what tests take ------------------------------------------------------------------------------------------------


@cache
def server() -> Server:
    """Return the server that all workers share."""
    if missing():
        pytest.skip(missing())
    place = (
        Path(tempfile.gettempdir()) / f"weft-pg-{os.getuid()}-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    )
    place.mkdir(mode=0o755, exist_ok=True)
    with (place.with_suffix(".start")).open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        # Kept open for as long as this process runs.
        users = os.open(place.with_suffix(".users"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not (place / "ready").exists():
            keeper = [sys.executable, "-m", "tests.postgres", str(place)]
            root = Path(__file__).parents[1]
            keeping = subprocess.Popen(keeper, cwd=root, start_new_session=True, stdin=subprocess.DEVNULL)
            try:
                _wait(place / "ready", keeping)
            except BaseException:
                # The next test that needs one starts it from the beginning.
                keeping.kill()
                keeping.wait()
                shutil.rmtree(place, ignore_errors=True)
                raise
            keeping.returncode = 0  # it ends after us, and is nobody's child then
    return Server(place, 5432)


@cache
def _schema() -> str:
    """Return the schema that this process has for itself, with all tables in it."""
    url = fresh()
    database = Postgres(url, StorageLimits())
    database.open()
    database.close()
    return url


def emptied() -> str:
    """Return the address of a database with the tables of this version, and nothing in them."""
    url = _schema()
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
        names = [name for (name,) in tables if name != "state"]
        # Much less work for the server than TRUNCATE, as long as there is little in them.
        connection.execute("; ".join(f"DELETE FROM {name}" for name in names).encode())
    return url


def fresh(on: Server | None = None) -> str:
    """Return the address of a database without tables."""
    there, name = on or server(), f"t{os.getpid()}_{next(_names)}"
    with psycopg.connect(there.url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return there.url(schema=name)


def end_connections(url: str) -> None:
    """Have the server end all connections to this schema but the one that asks."""
    schema = url.partition("search_path%3D")[2].partition("&")[0]
    with psycopg.connect(url, autocommit=True) as connection:
        ours = "application_name = %s AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}", [f"weft {schema}"])


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


# --- a server that a test may kill ----------------------------------------------------------------------------------


@contextmanager
def own_server(*, durable: bool = False) -> Iterator[OwnServer]:
    """Run a server for one test, on 127.0.0.1 too; ``durable``: what is committed is on the disk, as people run it."""
    if missing():
        pytest.skip(missing())
    directory = Path(tempfile.mkdtemp(prefix="weft-pg-own-"))
    directory.chmod(0o755)
    own = OwnServer(directory, durable=durable)
    try:
        own.start()
        yield own
    finally:
        own.kill()
        shutil.rmtree(directory, ignore_errors=True)


class OwnServer:
    """A server with its process, which can be killed and started again on the same files."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory, self.port, self._durable = directory, free_port(), durable
        self._process: subprocess.Popen[bytes] | None = None
        _initialise(directory)

    @property
    def server(self) -> Server:
        return Server(self.directory, self.port)

    def start(self) -> None:
        """Start it; it ends with the thread that has called this, if nobody has ended it before."""
        self._process = _started(self.directory, self.port, "127.0.0.1", durable=self._durable)
        _answering(self.server.url(), self._process)

    def kill(self) -> None:
        """End it at once, without a word to those who are connected."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_PATIENCE)
            self._process = None

    def _all(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]

    def hang(self) -> None:
        """Have all of its processes do nothing; its sockets are still there."""
        for pid in self._all():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self._all():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


# --- a pooler before it ---------------------------------------------------------------------------------------------


@contextmanager
def pooler(mode: str) -> Iterator[str]:
    """Give the address of an empty database, by way of a PgBouncer in this mode."""
    program, there, name = Path("/usr/sbin/pgbouncer"), server(), f"t{os.getpid()}_{next(_names)}"
    if not program.exists():
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    with psycopg.connect(there.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="weft-pooler-") as directory:
        place = Path(directory)
        settings = f"auth_type = any\npool_mode = {mode}\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        database = f"[databases]\n{name} = host={there.directory} port={there.port} user=weft\n"
        (place / "settings").write_text(f"{database}[pgbouncer]\nunix_socket_dir =\n{settings}")
        place.chmod(0o755)
        command = [*_as_postgres("--pdeathsig", "KILL"), str(program), "--quiet", str(place / "settings")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"postgresql://weft@127.0.0.1:{port}/{name}"
            _answering(url, process)
            yield url
        finally:
            process.kill()
            process.wait(_PATIENCE)


# --- how one is started ---------------------------------------------------------------------------------------------


def _as_postgres(*more: str) -> list[str]:
    """Return what comes before a command, so that it runs as somebody whom PostgreSQL runs as."""
    other = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *other, *more] if other or more else []


def _initialise(place: Path) -> None:
    data = place / "data"
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(place, "postgres", "postgres")
        shutil.chown(data, "postgres", "postgres")
    options = ["-A", "trust", "-U", "weft", "-E", "UTF8", "--locale=C", "--wal-segsize=1"]
    command = [str(_PROGRAMS[-1].with_name("initdb")), "-D", str(data), "--no-sync", "--no-instructions", *options]
    subprocess.run([*_as_postgres(), *command], check=True, cwd=place, stdout=subprocess.DEVNULL)


def _started(place: Path, port: int, address: str, *, durable: bool = False) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": address,
        "port": port,
        "unix_socket_directories": place,
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "shared_buffers": "16MB",
        "max_wal_size": "32MB",
        "autovacuum": "off",
        "max_connections": 60,
        "log_min_messages": "panic",
    }
    # The kernel ends it when the process that has started it ends; asked for after the change of the user.
    command = [*_as_postgres("--pdeathsig", "QUIT"), str(_PROGRAMS[-1]), "-D", str(place / "data")]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (place / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _answering(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.02)
        else:
            return


def _wait(path: Path, keeper: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not path.exists():
        assert keeper.poll() is None, "PostgreSQL did not start"
        assert time.monotonic() < deadline, f"PostgreSQL did not start: see {path.parent}/log"
        time.sleep(0.02)


def keep(place: Path) -> None:
    """Run the server until nobody uses it any more."""
    _initialise(place)
    process = _started(place, 5432, "")
    try:
        _answering(Server(place, 5432).url(), process)
        (place / "ready").touch()
        with (place.with_suffix(".users")).open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            process.send_signal(signal.SIGQUIT)
            process.wait(_PATIENCE)
            shutil.rmtree(place, ignore_errors=True)
            for suffix in (".users", ".start"):
                place.with_suffix(suffix).unlink(missing_ok=True)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait(_PATIENCE)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
