"""Where attacks happen: what hostile functions look for, and how to find it."""

import contextlib
import ctypes
import json
import os
import random
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

from sandbox.containment import Containment, Level, Mechanism
from sandbox.launch import forbid_inspection
from sandbox.levels import mechanisms_of
from tests.kit.accounts import OWN_USERS
from tests.kit.children import children
from tests.kit.groups import FOUND
from tests.kit.levels import contained
from tests.kit.support import Bench, answer, event, running_tree, until

VARIABLE = "REDTEAM_VARIABLE_OF_THE_SERVER"
World = dict[str, Any]


class Ground(NamedTuple):
    """A tree on which the functions of one level run, with all that the machine has for that level."""

    bench: Bench
    level: Level
    own_users: bool
    """whether each function has a user of its own"""
    without: frozenset[Mechanism]
    """what older kernels do not have"""

    @property
    def has(self) -> frozenset[Mechanism]:
        """What contains the functions, on top of what every machine with this level has."""
        lacks = contained(self.level).without | self.without | {Mechanism.USER_PER_FUNCTION}
        has = frozenset(mechanisms_of(self.level)) - lacks
        return has | {Mechanism.USER_PER_FUNCTION} if self.own_users else has

    def containment(self, number: int = 1, **settings: Any) -> Containment:
        """What contains function `number`; `settings` are fields of it."""
        uid = OWN_USERS.first + number if self.own_users else None
        usual = contained(self.level)
        return structs.replace(usual, uid=uid, without=usual.without | self.without, **settings)


@contextlib.asynccontextmanager
async def ground(
    level: Level, *, own_users: bool = False, without: frozenset[Mechanism] = frozenset()
) -> AsyncIterator[Ground]:
    """A tree for functions of this level. Only root can give them `own_users`."""
    async with running_tree(uids=OWN_USERS if own_users else None, cgroups=FOUND) as bench:
        yield Ground(bench, level, own_users, without)


@contextlib.asynccontextmanager
async def world(ground: Ground) -> AsyncIterator[World]:
    """All that the attacks of one level need to know: pids, paths, ports and names, with a neighbour behind each."""
    bench = ground.bench
    mark = f"redteam-{os.urandom(8).hex()}"
    secret = f"secret-{os.urandom(8).hex()}"
    places = {
        "secret": secret,
        "variable_of_the_server": VARIABLE,
        "planted_in_tmp": f"/tmp/{mark}",
        "planted_in_shm": f"/dev/shm/{mark}",
        "victim_abstract": f"\0{mark}-victim",
        "sysv_key": random.randrange(1, 2**31),
        "queue": mark,
    }
    victim_code = bench.code.parent / "victim"
    shutil.copytree(bench.code / "redteam", victim_code, ignore=shutil.ignore_patterns("function.py"))
    spec = bench.spec(
        "redteam", "victim:handler", code=victim_code, secrets={"API_KEY": secret}, containment=ground.containment(2)
    )
    victim, _ = await bench.tree.start(spec)
    [template] = bench.tree.templates()
    with _as_a_server(), _things_of_the_server(bench, mark) as things:
        folder = answer(await victim.invoke(event(json.dumps(places).encode())))
        [child] = await until(lambda: children(victim.pid))
        try:
            yield (
                places
                | things
                | {
                    "server": os.getpid(),
                    "uid": OWN_USERS.first + 2,
                    "zygote": bench.tree.zygotes()[0].pid,
                    "victim": victim.pid,
                    "victim_template": template.pid,
                    "victim_child": child,
                    "victim_code": str(victim_code),
                    "victim_folder": folder,
                    "guest": str(bench.code.parent / "guest"),
                    "own_code": str(bench.code / "redteam"),
                }
            )
        finally:
            answer(await victim.invoke(event(json.dumps(places).encode())))


@contextlib.contextmanager
def _as_a_server() -> Iterator[None]:
    """Nobody but root may look into a server."""
    forbid_inspection()
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as it was


@contextlib.contextmanager
def _things_of_the_server(bench: Bench, mark: str) -> Iterator[World]:
    """A state directory with a secret and a control socket, a library of an environment of ours, open ports."""
    state, library = bench.code.parent / "state", bench.code.parent / "library"
    open_folder = bench.code.parent / "open"
    for folder, mode in ((state, 0o700), (library, 0o755), (open_folder, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    (state / "key").write_text("secret")
    (state / "key").chmod(0o600)
    (planted := Path("/tmp", mark)).write_text("planted")
    setuid = ""
    if os.getuid() == 0:
        setuid = str(shutil.copy("/usr/bin/id", bench.code / "redteam"))
        os.chmod(setuid, 0o4755)
    with contextlib.ExitStack() as open_things:

        def listen(family: socket.AddressFamily, address: Any) -> socket.socket:
            listening = open_things.enter_context(socket.socket(family))
            listening.bind(address)
            listening.listen(100)
            return listening

        udp = open_things.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        echoing = threading.Thread(target=_echo, args=[udp], daemon=True)
        echoing.start()
        listen(socket.AF_UNIX, str(state / "control.sock"))
        (state / "control.sock").chmod(0o600)
        listen(socket.AF_UNIX, f"\0{mark}")
        try:
            yield {
                "state": str(state),
                "secret_file": str(state / "key"),
                "control": str(state / "control.sock"),
                "library": str(library),
                "open_folder": str(open_folder),
                "setuid_program": setuid,
                "abstract": f"\0{mark}",
                "port": listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1],
                "port6": _port_of_ipv6(open_things),
                "udp_port": udp.getsockname()[1],
            }
        finally:
            udp.sendto(b"", udp.getsockname())
            echoing.join()  # it may not read from another socket that gets this one's number
            (state / "control.sock").unlink()
            planted.unlink()


def _port_of_ipv6(open_things: contextlib.ExitStack) -> int:
    """A port of ::1; 9, at which nobody listens, on a machine without it."""
    try:
        listening = open_things.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    except OSError:
        return 9
    return int(listening.getsockname()[1])


def _echo(udp: socket.socket) -> None:
    while True:
        data, sender = udp.recvfrom(10)
        if not data:
            return
        udp.sendto(data, sender)
