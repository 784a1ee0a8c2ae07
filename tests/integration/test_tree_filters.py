"""Level `filters`: what a function cannot do there, with which error, and what it can do as ever."""

import json
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sandbox import landlock
from sandbox.containment import Containment, Level, Mechanism, Mount
from sandbox.errors import LoadFailed
from tests.kit.support import Bench, answer, event, failure

FILTERS = Containment(level=Level.FILTERS)


@pytest.mark.any_user
async def test_system_calls_without_a_use_are_refused(bench: Bench) -> None:
    """Each for the filter's reason: without it, the same calls succeed, or fail for another."""
    plain = await bench.answer(bench.spec("filters", "calls"))
    filtered = await bench.answer(bench.spec("filters", "calls", containment=FILTERS))

    others = {"clone3": "ENOSYS", "vsock": "EAFNOSUPPORT", "alg": "EAFNOSUPPORT"}
    assert filtered == dict.fromkeys(plain, "EPERM") | others
    assert {name for name in plain if plain[name] == filtered[name]} <= {"vsock", "alg", "bpf"}


@pytest.mark.ordinary_user
async def test_a_function_sees_its_own_files_and_those_of_the_system(bench: Bench) -> None:
    read_only, writable, other = (_open_folder(bench, name) for name in ("ro", "rw", "other"))
    mounts = (Mount(read_only, read_only), Mount(writable, writable, writable=True))
    stranger, _ = await bench.tree.start(bench.spec("plain", "scratch", containment=FILTERS))
    strange = Path(answer(await stranger.invoke(event()))["tmpdir"])
    code, guest, prefix = bench.code / "filters", bench.code.parent / "guest", Path(sys.prefix)
    shown = [code, guest, prefix, read_only, writable, Path("/usr/bin/env"), Path("/etc/passwd"), Path("/proc/stat")]
    hidden = [bench.code / "plain", strange, strange.parent, bench.folders, other, Path("/etc/fstab"), Path("/tmp")]
    closed = [code, guest, prefix, read_only, strange, strange.parent, bench.folders, other, Path("/tmp")]
    spec = bench.spec("filters", "files", containment=Containment(level=Level.FILTERS, mounts=mounts))
    data = {"read": [*map(str, shown), *map(str, hidden)], "write": [str(writable), *map(str, closed)]}
    found = await bench.answer(spec, data)

    assert {path: found[str(path)] for path in shown} == dict.fromkeys(shown, "done")
    assert {path: found[str(path)] for path in hidden} == dict.fromkeys(hidden, "EACCES")
    assert found[f"w {writable}"] == "done"
    assert {path: found[f"w {path}"] for path in closed} == dict.fromkeys(closed, "EACCES")


def _open_folder(bench: Bench, name: str) -> Path:
    """A folder beside the code that every user may write to."""
    folder = bench.code.parent / name
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.mark.any_user
async def test_everything_can_be_done_in_a_private_folder(bench: Bench) -> None:
    assert await bench.answer(bench.spec("filters", "own_files", containment=FILTERS)) == "te"


@pytest.mark.any_user
async def test_a_kernel_without_rules_for_truncate_has_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.1: a function of the server's user could empty the server's files."""
    monkeypatch.setattr("sandbox.confinement.landlock_abi", lambda: 2)
    without = frozenset({Mechanism.SIGNAL_SCOPE})
    spec = bench.spec("filters", "own_files", containment=Containment(level=Level.FILTERS, without=without))
    failed = await bench.failure(spec)

    assert failed.message.startswith("[Errno 1] Operation not permitted: ")
    assert "os.truncate(" in failed.traceback


@pytest.mark.any_user
async def test_common_libraries_find_what_they_need(bench: Bench) -> None:
    spec = bench.spec("filters", "libraries", name="short", containment=FILTERS)  # paths of sockets are short
    assert await bench.answer(spec) == {
        "thread": ["thread"],
        "pool": [2, 4, 6],
        "manager": 1,
        "shell": "SHELL",
        "python": sys.prefix,
        "asyncio": "asyncio",
        "idna": "xn--bcher-kva.example",
        "certificates": True,
        "zone": "Asia/Tokyo",
        "user": True,
        "processors": True,
        "status": True,
    }


@pytest.mark.any_user
async def test_without_a_network_sockets_are_local(bench: Bench) -> None:
    spec = bench.spec("filters", "network", containment=Containment(level=Level.FILTERS, network=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = await bench.answer(spec, listening.getsockname()[1])

    assert found == {
        "ipv4": "EACCES",
        "ipv6": "EACCES",
        "connect": "EACCES",
        "local": "x",
        "interfaces": ["lo"],
        "address": "127.0.0.1",
    }


KEEP = 'write mounts = ["PATH"] or ["PATH:rw"], keep files in os.environ["FORKLIGHT_DATA"]'
REACH = "a function reads the files of the system, its own and its mounts, and writes to mounts that say so"


@pytest.mark.any_user
async def test_an_error_tells_what_keeps_the_function_apart(bench: Bench) -> None:
    outside = _open_folder(bench, "outside")
    (outside / "file").touch(0o644)
    fails = await _failing(bench, Level.FILTERS)

    for message in (await fails("read", outside / "file"), await fails("write", outside / "new")):
        assert f": at level filters, {REACH}: {KEEP}" in message
    assert REACH not in await fails("read", "/etc/shadow")
    assert await fails("connect") == "[Errno 13] Permission denied: the function has network = false"
    assert (await fails("resolve", "forklight.example")).endswith(": the function has network = false")


@pytest.mark.any_user
async def test_an_error_tells_what_a_box_does_not_show(bench: Bench) -> None:
    fails = await _failing(bench, Level.NAMESPACES)

    for message in (await fails("read", "/srv/orders/1.csv"), await fails("write", "/usr/orders.csv")):
        assert f": at level namespaces, {REACH}: {KEEP}" in message
    assert REACH not in await fails("read", "/tmp/orders/1.csv")
    assert await fails("connect") == "[Errno 111] Connection refused"
    assert (await fails("resolve", "forklight.example")).endswith(": the function has network = false")


async def _failing(bench: Bench, level: Level) -> Callable[..., Awaitable[str]]:
    """Has a function without a network fail, and returns the message of the error."""
    (bench.code / "filters").chmod(0o555)
    spec = bench.spec("filters", "fails", containment=Containment(level=level, network=False))
    instance, _ = await bench.tree.start(spec)

    async def fails(how: str, what: object = "") -> str:
        return failure(await instance.invoke(event(json.dumps([how, str(what)]).encode()))).message

    return fails


@pytest.mark.any_user
async def test_nothing_is_loaded_with_less_than_was_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_FIRST_ABI", 1 << 62)  # a right that no kernel knows
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(bench.spec("plain", containment=FILTERS))

    assert failed.value.code == "InitFailed"
    assert failed.value.message.startswith(
        "the function cannot be confined: Landlock: system call 444: Invalid argument; `fork"
    )
