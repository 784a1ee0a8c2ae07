"""A function with `network = ["host:port"]` in a box reaches these places as if on the host, and nothing else."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from sandbox import processes
from sandbox.containment import Endpoint, Level, Mechanism
from sandbox.errors import LoadFailed
from sandbox.levels import Asked, CannotBeHad, resolve
from sandbox.network import has_doors
from sandbox.spec import FunctionSpec
from tests.kit.children import children
from tests.kit.levels import contained, found, why_not
from tests.kit.support import Bench, answer, event, until

pytestmark = pytest.mark.ordinary_user

MIB = 1024 * 1024
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server on the machine itself; its port."""
    server = await asyncio.start_server(serve, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything, once it is there."""
    writer.write(await reader.read())
    await writer.drain()
    writer.close()


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak first, as SMTP and MySQL do."""
    writer.write(b"welcome")
    writer.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def spec_of(bench: Bench, handler: str, *places: tuple[str, int]) -> FunctionSpec:
    """A function that may reach these places."""
    network = tuple(Endpoint(host, port) for host, port in places)
    containment = replace(contained(Level.NAMESPACES), network=network)
    assert has_doors(containment), found().missing
    return bench.spec("network", handler, containment=containment)


def own_address() -> str:
    """An address of this machine that other machines see, if there is any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(one.getsockname()[0])


needs_box = pytest.mark.skipif(bool(why_not(Level.NAMESPACES)), reason=why_not(Level.NAMESPACES))


@needs_box
async def test_bytes_pass_in_any_number_both_ways_and_one_way_may_end_first(bench: Bench) -> None:
    size = 8 * MIB
    expected = hashlib.sha256(bytes(range(256)) * (size // 256)).hexdigest()
    async with served(echo) as port:
        spec = spec_of(bench, "talk", ("localhost", port))
        assert await bench.answer(spec, ["localhost", port, size]) == [size, expected]
        assert await bench.answer(spec, ["localhost", port, 0]) == [0, hashlib.sha256().hexdigest()]


@needs_box
async def test_a_place_may_speak_first_and_have_any_kind_of_address(bench: Bench) -> None:
    address = own_address()
    name = socket.gethostname()
    async with served(greet) as port, served(greet, "0.0.0.0") as wide, served(greet, "::1") as six:
        places = [("localhost", port), ("127.0.0.1", port), (address, wide), ("::1", six), (name.upper(), wide)]
        try:
            socket.getaddrinfo(name, wide)
        except OSError:
            del places[-1]
        spec = spec_of(bench, "tries", *places)
        assert await bench.answer(spec, places) == ["welcome"] * len(places)


@needs_box
async def test_nothing_else_is_reached(bench: Bench) -> None:
    async with served(greet) as port, served(greet) as closed:
        spec = spec_of(bench, "tries", ("localhost", port))
        tried = await bench.answer(spec, [["127.0.0.1", closed], ["192.0.2.1", port], [own_address(), port]])
        assert tried[0] == "ConnectionRefusedError: Connection refused"
        assert {*tried[1:]} <= {"OSError: Network is unreachable", "ConnectionRefusedError: Connection refused"}
        names = ["db.example.com", "other.example.com"]
        seen = await bench.answer(spec_of(bench, "around", (names[0], port), ("localhost", port)), names)
        assert seen["listening"] == 0
        assert seen["own"] == "127.0.0.1"
        assert seen["names"]["db.example.com"].startswith("127.1.")
        assert seen["names"]["other.example.com"] in {
            "Name or service not known",
            "Temporary failure in name resolution",
        }
        assert seen["datagram"] == "Network is unreachable"


@needs_box
async def test_a_place_that_refuses_resets_the_connection_and_is_logged_once(bench: Bench) -> None:
    port = free_port()
    spec = spec_of(bench, "tries", ("localhost", port), ("nowhere.invalid", port))
    places = [["localhost", port], ["localhost", port], ["nowhere.invalid", port]]
    tried = await bench.answer(spec, places)

    assert {*tried} == {"ConnectionResetError: Connection reset by peer"}
    await until(lambda: len(bench.lines) == 2)
    refused, unknown = sorted(bench.texts())
    assert refused == f"[forklight] it cannot reach localhost:{port}: Connection refused"
    assert unknown.startswith(f"[forklight] it cannot reach nowhere.invalid:{port}: ")


@needs_box
async def test_another_forwarder_takes_the_place_of_a_dead_one(bench: Bench) -> None:
    async with served(greet) as port:
        spec = spec_of(bench, "tries", ("localhost", port))
        instance, _ = await bench.tree.start(spec)
        call = f'[["localhost", {port}]]'.encode()
        assert answer(await instance.invoke(event(call))) == ["welcome"]
        (forwarder,) = _forwarders()
        status = processes.read_proc(f"/proc/{forwarder}/status")
        assert b"CapEff:\t0000000000000000" in status
        assert b"NoNewPrivs:\t1" in status
        assert os.stat(f"/proc/{forwarder}/mem").st_uid == 0
        os.kill(forwarder, signal.SIGKILL)
        await until(lambda: "its connections are lost" in "".join(bench.texts()))
        await until(lambda: _forwarders() and _forwarders() != [forwarder])
        assert answer(await instance.invoke(event(call))) == ["welcome"]
        instance.leave()
        bench.tree.drop(spec)
        (new,) = _forwarders()
        if os.getuid() == 0:  # nobody else may look into it
            await until(lambda: not _listens(new))


def _forwarders() -> list[int]:
    return [pid for pid in children(os.getpid()) if b"\0forward\0" in processes.read_proc(f"/proc/{pid}/cmdline")]


def _listens(pid: int) -> bool:
    """Whether the process has sockets beside the one to the server and those of its event loop."""
    return len([fd for fd in os.listdir(f"/proc/{pid}/fd") if "socket" in os.readlink(f"/proc/{pid}/fd/{fd}")]) > 3


@needs_box
async def test_an_address_that_cannot_be_had_is_an_error_of_the_load(bench: Bench) -> None:
    with pytest.raises(LoadFailed, match=r"no network of its own: ff02::1: "):
        await bench.tree.start(spec_of(bench, "tries", ("ff02::1", 80)))


async def test_at_level_filters_connections_go_to_the_ports_of_its_places(bench: Bench) -> None:
    """Landlock knows no hosts. Doctor says so, and why where the kernel has no such rules."""
    if Mechanism.TCP_RULES in found().missing:
        with pytest.raises(CannotBeHad, match="network of some places only cannot be had"):
            resolve(Asked(level=Level.FILTERS, network=(Endpoint("localhost", 1),)), found())
        return
    async with served(greet) as port, served(greet) as closed:
        asked = Asked(level=Level.FILTERS, network=(Endpoint("db.example.com", port),))
        spec = bench.spec("filters", "connects", containment=resolve(asked, found()))
        past = ["ENOTSUP", "EPROTONOSUPPORT"]  # TCP Fast Open, MPTCP
        assert await bench.answer(spec, [port, closed]) == ["connected", "Permission denied", 1, *past]
    assert found().details[Mechanism.TCP_RULES] == "by port, of whichever machine; UDP is open"
