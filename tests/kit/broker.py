"""A RabbitMQ of the tests' own: one private throw-away node for a whole run, and the faults that can befall it.

Everything it has is its own: folder, ports (random, on loopback), cookie, and the epmd through which `rabbitmqctl`
finds it. Both are killed by the kernel should the run die. Debian's commands in /usr/sbin would change user, so the
scripts behind them are started, as whoever runs the tests. Fresh start 5 s, any `rabbitmqctl` 0.3 s and more; hence one
node a run, a virtual host a test, and these are made in stock.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 40.0
STOCK = 8, 32
"""Virtual hosts made at a time: at first, and at most. Most of the time is that of `rabbitmqctl`."""

MISSING = (
    "no RabbitMQ for the tests: set AMQP_URL to an empty vhost of a broker, or install Debian's package: "
    "apt-get install rabbitmq-server"
)
OWN_ONLY = ("setpriv", "--pdeathsig", "KILL")
"""Starts a process that dies with the thread that started it: so start nothing in a thread other than the main one."""

_MAKE_VHOSTS = """
[begin
  Name = list_to_binary(integer_to_list(N)),
  ok = rabbit_vhost:add(Name, <<"tests">>),
  ok = rabbit_auth_backend_internal:set_permissions(<<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
end || N <- lists:seq({first}, {last})].
"""
_CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 1MB
log.file.level = warning
raft.wal_max_size_bytes = 33554432
"""


class Node:
    """A node that runs. What is called `wait_x` is for a test's event loop, the rest blocks."""

    def __init__(self, folder: Path) -> None:
        self.port, self._epmd_port, distribution_port = free_ports(3)
        self._folder = folder
        self._vhosts = 0
        self._stock = STOCK[0]
        self._unused: list[str] = []
        (folder / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port))
        (folder / "enabled_plugins").write_text("[].\n")
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tests-{os.getpid()}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "detached": "1",  # the process started is then the broker itself
        }
        epmd = (*OWN_ONLY, "epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port))
        self._epmd = subprocess.Popen(epmd, env=self._environment, stdin=subprocess.DEVNULL)
        self._process: subprocess.Popen[bytes] | None = None

    def start_nowait(self) -> None:
        """Start the process, which is not ready then."""
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                (*OWN_ONLY, str(SCRIPTS / "rabbitmq-server")),
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_ready_blocking(self) -> None:
        """For where no event loop runs. Fails the test with the end of the node's output."""
        end = time.monotonic() + START_LIMIT_S
        while not speaks_amqp(self.port):
            self._must_live(end)
            time.sleep(0.05)

    async def wait_ready(self) -> None:
        """Until it speaks AMQP."""
        end = time.monotonic() + START_LIMIT_S
        while not await asyncio.to_thread(speaks_amqp, self.port):
            self._must_live(end)
            await asyncio.sleep(0.05)

    def _must_live(self, end: float) -> None:
        assert self._process is not None
        if self._process.poll() is not None or time.monotonic() > end:
            output = (self._folder / "output").read_text(errors="replace")[-2000:]
            pytest.fail(f"the tests' RabbitMQ node does not start:\n{output}", pytrace=False)

    def kill(self) -> None:
        """SIGKILL: what the broker confirmed is on its disk, nothing else is."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """For good, gracefully if it can."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def ctl_blocking(self, *arguments: str) -> str:
        """What `rabbitmqctl` printed."""
        command = (str(SCRIPTS / "rabbitmqctl"), "--quiet", *arguments)
        done = subprocess.run(
            command, env=self._environment, cwd=self._folder, capture_output=True, text=True, timeout=40, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    async def wait_ctl(self, *arguments: str) -> str:
        """The same beside a running event loop."""
        return await asyncio.to_thread(self.ctl_blocking, *arguments)

    def fresh_url(self) -> str:
        """Of a virtual host that nobody has used."""
        if not self._unused:
            first, self._vhosts = self._vhosts + 1, self._vhosts + self._stock
            self._stock = min(2 * self._stock, STOCK[1])
            self.ctl_blocking("eval", _MAKE_VHOSTS.format(first=first, last=self._vhosts))
            self._unused = [str(number) for number in range(self._vhosts, first - 1, -1)]
        return self.url(self._unused.pop())

    def url(self, vhost: str) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    async def wait_restart(self) -> None:
        """The broker stops and starts inside its process: the cheapest restart. Returns once it speaks AMQP again."""
        await self.wait_ctl("stop_app")
        await self.wait_ctl("start_app")
        await self.wait_ready()

    async def wait_connections_closed(self) -> None:
        """Closes every connection, as an operator would."""
        await self.wait_ctl("close_all_connections", "the tests close it")

    async def wait_memory_alarm(self, *, on: bool) -> None:
        """While it is on, whoever publishes is blocked."""
        await self.wait_ctl("set_vm_memory_high_watermark", *(("absolute", "1MB") if on else ("0.9",)))

    async def wait_queue_deleted(self, vhost: str, queue: str) -> None:
        """With all that is in it, consumers or not."""
        await self.wait_ctl("delete_queue", "--vhost", vhost, queue)


@contextlib.asynccontextmanager
async def foreign(url: str) -> AsyncIterator[AbstractChannel]:
    """Open a channel of another client."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        yield channel


@contextlib.contextmanager
def running_node() -> Iterator[Node]:
    """A node from nothing, in a folder that is gone afterwards. Fails the test that asks if there is no RabbitMQ."""
    if not (SCRIPTS / "rabbitmq-server").exists():
        if os.getuid() != 0 or not shutil.which("apt-get"):
            pytest.fail(MISSING, pytrace=False)
        install()
    folder = Path(tempfile.mkdtemp(prefix="fl-mq-"))
    node = Node(folder)
    try:
        node.start_nowait()
        node.wait_ready_blocking()
        yield node
    finally:
        node.stop()
        shutil.rmtree(folder)


def install() -> None:
    """Debian's package, as `scripts/test` does it."""
    command = f". {ROOT}/scripts/setup.sh && install_debian_packages rabbitmq-server"
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
    if done.returncode or not (SCRIPTS / "rabbitmq-server").exists():
        pytest.fail(f"{MISSING} (which failed here: {done.stderr.strip()[-300:]})", pytrace=False)


def speaks_amqp(port: int) -> bool:
    """Whether what listens there answers the protocol header with a method frame, as a broker that is ready does."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        connection.settimeout(5.0)
        connection.sendall(b"AMQP\0\0\x09\x01")
        return connection.recv(1) == b"\x01"
    return False


def free_ports(count: int) -> list[int]:
    """Free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
