"""Functions in a box: what is there, what is not, and that a box ends with everything in it."""

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandbox.box import options
from sandbox.containment import Containment, Level, Mount
from sandbox.errors import LoadFailed, StartFailed
from sandbox.holder import CLOSE_LIMIT_S, open_box
from sandbox.spec import MIB, FunctionSpec
from sandbox.template import Template
from tests.kit.accounts import account
from tests.kit.children import children
from tests.kit.support import Bench, answer, event, is_gone, processes_with, until

pytestmark = [pytest.mark.ordinary_user, pytest.mark.box]

PR_SET_CHILD_SUBREAPER = 36
prctl = ctypes.CDLL(None).prctl


def boxed(
    bench: Bench, handler: str, folder: str = "box", contained: Containment | None = None, **settings: Any
) -> FunctionSpec:
    return bench.spec(folder, handler, containment=contained or Containment(level=Level.NAMESPACES), **settings)


def template_of(bench: Bench, spec: FunctionSpec) -> Template:
    found = bench.tree.template_of(spec)
    assert isinstance(found, Template)
    return found


def writable_folder(bench: Bench, name: str = "data") -> Path:
    folder = bench.folders.parent / name
    folder.mkdir()
    os.chown(folder, account().uid, account().gid)
    return folder


def holders() -> set[int]:
    """The bubblewrap processes of this process."""
    return {pid for pid in children(os.getpid()) if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def has_none_alive(group: int) -> bool:
    """Whether all processes of a group are dead; zombies are."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, _, process_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(process_group) == group and state != "Z":
                    return False
    return True


async def test_a_function_sees_its_box_and_nothing_else(bench: Bench) -> None:
    seen = await bench.answer(boxed(bench, "looks"))

    assert set(seen["root"]) <= {
        "bin",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "proc",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var",
    }
    assert {"passwd", "resolv.conf", "ssl"} <= set(seen["etc"])
    assert not {"shadow", "machine-id", "ssh", "fstab"} & set(seen["etc"])
    assert len(seen["pids"]) == 3, "the box's first process, the template and the instance"
    assert seen["pid"] == 1
    assert seen["uid"] == account().uid
    assert set(seen["capabilities"].values()) == {"0" * 16}
    assert seen["host"] == socket.gethostname()
    assert seen["folder"] == seen["home"]
    assert Path(seen["folder"]).parent == Path("/tmp")
    assert seen["folder"] != seen["at_import"]["folder"]
    await nothing_of_ours_is_there_but_the_guest_and_the_code(bench)
    await only_tmp_and_shm_can_be_written(bench)


async def nothing_of_ours_is_there_but_the_guest_and_the_code(bench: Bench) -> None:
    spec = boxed(bench, "exists")
    absent = [str(bench.folders), str(bench.code / "slow"), "/root", "/home", "/run", "/sys/fs", __file__]
    present = [str(spec.code / "function.py"), str(bench.folders.parent / "guest")]

    assert await bench.answer(spec, absent + present) == present


async def only_tmp_and_shm_can_be_written(bench: Bench) -> None:
    spec = boxed(bench, "writes")
    denied = ["/x", "/etc/x", "/dev/x", "/usr/x", "/var/x", str(spec.code / "function.py")]
    found = await bench.answer(spec, [*denied, "/tmp/x", "/dev/shm/x", "/var/tmp/y", "/dev/null"])

    assert [path for path, why in found.items() if not why] == ["/tmp/x", "/dev/shm/x", "/var/tmp/y", "/dev/null"]
    assert {found[path] for path in denied} <= {"Read-only file system", "Permission denied"}
    assert not os.path.lexists("/tmp/x")  # noqa: ASYNC240


async def test_scratch_has_a_size(bench: Bench) -> None:
    spec = boxed(bench, "fills", contained=Containment(level=Level.NAMESPACES, scratch_bytes=3 * MIB))

    for folder in ("/tmp", "/dev/shm"):
        assert await bench.answer(spec, folder) == [3, "No space left on device"]


async def test_mounts_are_at_their_places(bench: Bench) -> None:
    shared, data = writable_folder(bench, "shared"), writable_folder(bench)
    mounts = (Mount(shared, Path("/srv/shared")), Mount(data, data, writable=True))
    contained = Containment(level=Level.NAMESPACES, mounts=mounts)
    found = await bench.answer(boxed(bench, "writes", contained=contained), ["/srv/shared/x", f"{data}/x"])

    assert found == {"/srv/shared/x": "Read-only file system", f"{data}/x": ""}
    assert (data / "x").read_bytes() == b"x"


async def test_without_network_there_is_only_loopback(bench: Bench) -> None:
    contained = Containment(level=Level.NAMESPACES, network=False)

    assert (await bench.answer(boxed(bench, "looks", contained=contained)))["interfaces"] == ["lo"]
    here = [name for _, name in socket.if_nameindex()]
    assert (await bench.answer(boxed(bench, "looks")))["interfaces"] == here


async def test_the_end_of_an_instance_is_the_end_of_all_it_started(bench: Bench) -> None:
    mark = f"mark-{uuid.uuid4()}"
    spec = boxed(bench, "daemonizes")
    instance, kind = await bench.tree.start(spec)
    neighbour, _ = await bench.tree.start(spec)
    assert answer(await instance.invoke(event(f'"{mark}"'.encode()), start=kind)) == 1
    await until(lambda: len(processes_with(mark)) >= 3)
    buried = asyncio.Event()
    instance.on_dead = lambda _instance: buried.set()
    instance.leave()
    await buried.wait()

    assert not processes_with(mark)
    assert answer(await neighbour.invoke(event(f'"{mark}"'.encode()))) == 1
    neighbour.leave()


async def test_private_folders_go_with_their_instances(bench: Bench) -> None:
    spec = boxed(bench, "leaves")
    instance, kind = await bench.tree.start(spec)
    alone = len(answer(await instance.invoke(event(b"300"), start=kind)))
    second, _ = await bench.tree.start(spec)
    assert len(answer(await second.invoke(event(b"0")))) == alone + 1
    instance.leave()
    left = alone + 1
    while left != alone:  # it takes a few turns of the template
        left = len(answer(await second.invoke(event(b"0"))))
    second.leave()


async def test_instances_outlive_their_template_and_the_box_ends_with_the_last(bench: Bench) -> None:
    folder = writable_folder(bench)
    mounts = (Mount(folder, folder, writable=True),)
    spec = boxed(bench, "waits", contained=Containment(level=Level.NAMESPACES, mounts=mounts))
    instance, kind = await bench.tree.start(spec)
    template = template_of(bench, spec)
    (holder,) = holders()
    outcome = instance.invoke(event(json.dumps(str(folder)).encode()), start=kind)
    await until((folder / "begun").exists)
    os.kill(template.pid, 9)
    await until(lambda: template.is_dead)
    assert holders() == {holder}
    (folder / "end").touch()

    assert answer(await outcome) == 1
    await template.gone.wait()
    assert is_gone(holder)


async def test_the_death_of_the_first_process_of_a_box_is_the_death_of_all_in_it(bench: Bench) -> None:
    spec = boxed(bench, "sleeps")
    instance, kind = await bench.tree.start(spec)
    outcome = instance.invoke(event(), start=kind)
    template = template_of(bench, spec)
    (holder,) = holders()
    (first,) = children(holder)
    os.kill(first, 9)
    failed = await outcome
    await template.gone.wait()

    assert (failed.kind, failed.code) == ("crash", "Signal")  # type: ignore[union-attr]
    assert not holders()
    another, _ = await bench.tree.start(spec)
    another.leave()


async def test_the_death_of_bubblewrap_ends_nothing(bench: Bench) -> None:
    spec = boxed(bench, "looks")
    instance, kind = await bench.tree.start(spec)
    template = template_of(bench, spec)
    (holder,) = holders()
    os.kill(holder, 9)
    await until(lambda: not holders())
    assert answer(await instance.invoke(event(), start=kind))["pid"] == 1
    instance.leave()
    template.retire()
    await template.gone.wait()

    assert is_gone(template.pid)


async def test_a_template_that_becomes_its_instance_ends_with_all_that_it_started(bench: Bench) -> None:
    mark = f"mark-{uuid.uuid4()}"
    code = bench.code / "threads_in_box"
    code.mkdir()
    source = (bench.code / "box" / "function.py").read_text()
    thread = "import threading; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    (code / "function.py").write_text(source + thread)
    spec = boxed(bench, "daemonizes", "threads_in_box")
    instance, kind = await bench.tree.start(spec)
    assert answer(await instance.invoke(event(f'"{mark}"'.encode()), start=kind)) > 1
    await until(lambda: len(processes_with(mark)) >= 3)
    buried = asyncio.Event()
    instance.on_dead = lambda _instance: buried.set()
    os.kill(instance.pid, 9)
    await buried.wait()

    assert not processes_with(mark)


async def test_a_template_that_was_retired_while_its_box_opened_leaves_nothing(bench: Bench) -> None:
    spec = boxed(bench, "looks")
    starting = asyncio.create_task(bench.tree.start(spec))
    await until(holders)
    bench.tree.drop(spec)
    with pytest.raises((LoadFailed, Exception)):
        await starting
    await until(lambda: not holders())


async def test_an_instance_reaps_its_orphans_although_it_numbers_them_otherwise(bench: Bench) -> None:
    instance, kind = await bench.tree.start(boxed(bench, "orphans"))
    for _ in range(3):
        assert answer(await instance.invoke(event(), start=kind)) == 0
    instance.leave()


async def test_a_box_ends_although_its_template_has_become_the_servers_child(bench: Bench) -> None:
    """As the first process of a container, the server adopts whatever loses its parent."""
    spec = boxed(bench, "looks")
    instance, _ = await bench.tree.start(spec)
    template = template_of(bench, spec)
    (holder,) = holders()
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        os.kill(template.zygote.pid, 9)
        with anyio.fail_after(CLOSE_LIMIT_S / 2):
            await template.gone.wait()
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    assert is_gone(holder)
    assert is_gone(template.pid)
    assert instance.is_dead


async def test_bubblewrap_killed_halfway_leaves_nothing(bench: Bench) -> None:
    needed = [Path(sys.executable)]
    for number in range(10):
        opening = asyncio.create_task(open_box(options(Containment(level=Level.NAMESPACES), needed), account(), None))
        (holder,) = await until(holders)
        await asyncio.sleep(number / 2000)  # anywhere in the few milliseconds that it takes
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, 9)
        with contextlib.suppress(StartFailed):
            await (await opening).close()
        await until(partial(has_none_alive, holder))


async def test_what_cannot_be_mounted_is_named(bench: Bench) -> None:
    missing, hidden = Path("/srv/not/there"), bench.folders.parent / "hidden"
    (hidden / "inner").mkdir(parents=True)
    hidden.chmod(0)
    wrong = ((missing, f"{missing}: No such file or directory, and mounts names it"), (hidden / "inner", "Permission"))
    try:
        for source, why in wrong:
            contained = Containment(level=Level.NAMESPACES, mounts=(Mount(source, Path("/inner")),))
            with pytest.raises(LoadFailed, match=f"{source}.*{why}|{why}"):
                await bench.tree.start(boxed(bench, "looks", contained=contained))
    finally:
        hidden.chmod(0o755)

    assert not holders()
