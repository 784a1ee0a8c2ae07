"""Rollbacks and promotions of many functions at once, and what another client notices of them."""

import shutil
import time

from benchmarks.asking import Asking
from benchmarks.deploys_shop import Files, Times, open_shop
from benchmarks.table import Row, Target, quantiles

FUNCTIONS = 40
ROUNDS = 10
PAUSE_S = 0.001
"""Between two requests of the other client, which leaves the processor to the server."""
SETTLE_S = 0.3
"""After a change, what follows it: old templates end."""
ROLLBACK = Target(50)
_TABLE = '[functions.{name}]\nhandler = "{name}:handler"\nhttp = "GET /{name}"\n'
_PYTHON = "import decimal, email.message\n\ndef handler(event):\n    return {version}\n"
_NODE = "exports.handler = async () => {version};\n"


def _files(changed: int) -> Files:
    """An application of many functions, of which so many differ in each version."""
    names = [f"f{n}" for n in range(FUNCTIONS)]

    def files(version: int) -> dict[str, str]:
        code = {f"{name}.py": _PYTHON.format(version=version if n < changed else 0) for n, name in enumerate(names)}
        return {"forklight.toml": "".join(_TABLE.format(name=name) for name in names)} | code

    return files


def _node_files(version: int) -> dict[str, str]:
    toml = f'{_TABLE.format(name="f0")}runtime = "node"\n[runtimes.node]\nnode = "node"\n'
    return {"forklight.toml": toml, "f0.js": _NODE.format(version=version)}


def measure() -> list[Row]:
    """All functions changed, one of them, and a function of Node.js if that is here; then beside another client."""
    every = _rollbacks(_files(FUNCTIONS))
    one = _rollbacks(_files(1))
    rows = [
        Row(f"rollback of {FUNCTIONS} functions", "ms", quantiles(every["rollback"]), target=ROLLBACK),
        Row("its switching", "ms", quantiles(every["rollback: switching"])),
        Row("first answer after it", "ms", quantiles(every["first"])),
        Row(f"rollback, 1 of {FUNCTIONS} changed", "ms", quantiles(one["rollback"]), target=ROLLBACK),
    ]
    if shutil.which("node"):
        rows.append(Row("rollback, Node.js", "ms", quantiles(_rollbacks(_node_files)["rollback"]), target=ROLLBACK))
    return rows + _noticed()


def _rollbacks(files: Files) -> Times:
    """Deploys, each of which is taken back; then the function is asked."""
    with open_shop(files) as (shop, _):
        for _ in range(ROUNDS):
            shop.deploy()
            shop.ask("first after a deploy", "/f0")
            time.sleep(SETTLE_S)
            shop.change("rollback")
            shop.ask("first", "/f0")
        return shop.times_ms


def _noticed() -> list[Row]:
    """The slowest answers that a client gets while all functions are switched, and a while after that."""
    found: Times = {"nothing": [], "rollback": [], "promotion": []}
    with open_shop(_files(FUNCTIONS)) as (shop, server):
        other = Asking(server, "/f0", pause_s=PAUSE_S)
        with other.asking():
            for _ in range(ROUNDS):
                shop.deploy()
                _quiet(other)
                found["nothing"].append(_quiet(other))
                shop.change("rollback")
                found["rollback"].append(_quiet(other))
                shop.deploy(canary=True)
                _quiet(other)
                shop.change("promote")
                found["promotion"].append(_quiet(other))
    return [
        Row(f"slowest answer of another client, {what}", "ms", quantiles(times_ms)) for what, times_ms in found.items()
    ]


def _quiet(other: Asking) -> float:
    """Return the slowest answer since the last time, once what follows a switch is over."""
    time.sleep(SETTLE_S)
    return other.slowest_ms()
