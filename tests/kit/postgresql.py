"""A PostgreSQL of the tests' own: one private throw-away server for a whole run, on a port of this machine.

PostgreSQL refuses to run as root, so root starts it as `nobody`. The kernel ends it should the run die.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.kit.broker import OWN_ONLY, free_ports

START_LIMIT_S = 40.0
MISSING = "no PostgreSQL for the tests: install Debian's package: apt-get install postgresql"
SETTINGS = ("fsync=off", "listen_addresses=127.0.0.1", "unix_socket_permissions=0777", "max_connections=50")
INITDB = ("--username=shop", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale-provider=icu", "--icu-locale=en")
"""Text sorts as in most installations, and not as in C: `~` comes before letters."""
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig", "KILL")


class PostgreSQL:
    """A server that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [self.port] = free_ports(1)
        self._databases = 0

    def url(self, database: str) -> str:
        return f"postgresql://shop@127.0.0.1:{self.port}/{database}"

    def fresh_url(self) -> str:
        """Of an empty database that nobody has used."""
        self._databases += 1
        self.execute(f"CREATE DATABASE test_{self._databases}")
        return self.url(f"test_{self._databases}")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def close_connections(self) -> None:
        """As a restart of the server does, a firewall, or an administrator."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """A server from nothing, in a folder that is gone afterwards. Fails the test that asks if there is none."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="fl-pg-"))
    try:
        folder.chmod(0o755)
        as_whom: tuple[str, ...] = OWN_ONLY
        if os.getuid() == 0:
            as_whom = AS_NOBODY
            shutil.chown(folder, "nobody", "nogroup")
        data = folder / "data"
        _run(*as_whom, str(programs / "initdb"), "-D", str(data), *INITDB)
        server = PostgreSQL(folder)
        options = [part for setting in (*SETTINGS, f"port={server.port}") for part in ("-c", setting)]
        command = [*as_whom, str(programs / "postgres"), "-D", str(data), "-k", str(folder), *options]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            _wait_ready(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """The folder of the newest version's programs, which Debian keeps off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.fail(MISSING, pytrace=False)
    return found[-1].parent


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _wait_ready(server: PostgreSQL, process: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while True:
        try:
            return server.execute("SELECT 1")
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end_s:
                output = (server.folder / "output").read_text(errors="replace")[-2000:]
                pytest.fail(f"the tests' PostgreSQL does not start:\n{output}", pytrace=False)
            time.sleep(0.05)
