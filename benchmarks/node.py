"""`python -m benchmarks.node [NODE]`: functions of Node.js beside bare Node.js, which runs a script of one line.

A start is measured from the request for an instance to its first answer, with an existing template; the bare one from
the execution of the program to the first byte that its script writes. CPU is that of the main thread. The first start
of a template, which writes the code cache, is not measured.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import uvloop

from benchmarks.guest_facts import cpu_ns
from benchmarks.table import Row, Target, quantiles, render, single
from benchmarks.tree import machine
from benchmarks.warm import EVENT
from benchmarks.workshop import LIMITS, Workshop, ended, workshop
from forklight.code.node import OLDEST_WITH_SNAPSHOTS, major
from sandbox.instance import Instance
from sandbox.processes import memory_kb
from sandbox.spec import FunctionSpec, Runtime

SNAPSHOT = "modules"
"""The function that is also started with a startup snapshot."""
STARTS = 15
CALLS = 2000
LIMIT_S = 60.0
MODULES, FUNCTIONS_EACH = 150, 40
_FUNCTIONS = {
    "hello": "exports.handler = async (event) => ({ hello: event.data.name });\n",
    "with_http": "const { createServer, request } = require('http');\nconst { createHash } = require('crypto');\n"
    "exports.handler = async () => ({ all: Boolean(createServer && request && createHash) });\n",
    "modules": f"let sum = 0;\nfor (let n = 0; n < {MODULES}; n += 1) sum += require(`./lib/${{n}}`).sum;\n"
    "exports.handler = async () => ({ sum });\n",
}
_BARE = {
    "hello": "",
    "with_http": "require('http'); require('crypto');",
    "modules": "require('./index');",
}
"""What each does beside writing a byte. It runs in the folder of the function."""


class Node(NamedTuple):
    """A program, and its version."""

    path: str
    release: str


async def measure(shop: Workshop, node: Node) -> list[Row]:
    """All rows. Raises TimeoutError if the machine is too busy."""
    rows: list[Row] = []
    with anyio.fail_after(LIMIT_S):
        for name in _FUNCTIONS:
            rows += await _starts(shop, _spec(shop, node, name), node)
        if major(node.release) >= OLDEST_WITH_SNAPSHOTS:
            rows += await _starts(shop, _spec(shop, node, SNAPSHOT, snapshot=True), node)
        return rows + await _calls(shop, node)


async def _starts(shop: Workshop, spec: FunctionSpec, node: Node) -> list[Row]:
    ours_ms, loads_ms, ours_cpu_ms, bare = [], [], [], []
    name = f"{spec.name}, snapshot" if spec.runtime.snapshot else spec.name
    async with shop.tree() as tree:
        await ended((await tree.start(spec))[0])
        for _ in range(STARTS):
            bare.append(_bare(node.path, _BARE[spec.name], spec.code))
            begun = time.perf_counter()
            instance, kind = await tree.start(spec)
            loads_ms.append((time.perf_counter() - begun) * 1e3)
            await instance.invoke(EVENT, start=kind)
            ours_ms.append((time.perf_counter() - begun) * 1e3)
            ours_cpu_ms.append(cpu_ns(instance.pid) / 1e6)
            await ended(instance)
    target = Target(40) if name == "hello" else None
    bare_ms, bare_cpu_ms = zip(*bare, strict=True)
    return [
        Row(f"start by fork, {name}", "ms", quantiles(ours_ms), quantiles(bare_ms), target),
        Row(f"its CPU, {name}", "ms", quantiles(ours_cpu_ms), quantiles(bare_cpu_ms)),
        Row(f"of that until it is ready, {name}", "ms", quantiles(loads_ms)),
    ]


async def _calls(shop: Workshop, node: Node) -> list[Row]:
    spec = _spec(shop, node, "hello")
    firsts_ms = []
    async with shop.tree() as tree:
        for _ in range(STARTS):
            instance, _ = await tree.start(spec, ahead=True)
            await anyio.sleep(0.02)  # it waits for its first event
            firsts_ms.append(await _call_us(instance) / 1e3)
            await ended(instance)
        instance, _ = await tree.start(spec)
        warm_us = [await _call_us(instance) for _ in range(CALLS)]
        size_kb = memory_kb(instance.pid) or 0
        await ended(instance)
    return [
        Row("first event of a spare", "ms", quantiles(firsts_ms), target=Target(1)),
        Row("warm call", "us", quantiles(warm_us[CALLS // 2 :])),
        Row("memory of an instance: RSS", "MiB", single(size_kb / 1024)),
    ]


async def _call_us(instance: Instance) -> float:
    begun = time.perf_counter()
    await instance.invoke(EVENT)
    return (time.perf_counter() - begun) * 1e6


def _bare(node: str, script: str, code: Path) -> tuple[float, float]:
    """Milliseconds until the script has written, and of CPU time. It waits for the end of its input then."""
    begun = time.perf_counter()
    writes = f"{script} require('fs').writeSync(1, '1'); process.stdin.resume()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([node, "-e", writes], cwd=code, env={"PATH": os.defpath}, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.read(1)
        return (time.perf_counter() - begun) * 1e3, cpu_ns(process.pid) / 1e6


def _write(code: Path, name: str) -> None:
    """The function's code, which every user may read."""
    (code / "lib").mkdir(parents=True, exist_ok=True)
    (code / "index.js").write_text(_FUNCTIONS[name])
    for n in range(MODULES if name == "modules" else 0):
        (code / f"lib/{n}.js").write_text(_module(n))
    for folder in (code, code / "lib"):
        folder.chmod(0o755)


def _module(n: int) -> str:
    """The text of a module of some 8 KB, of whose functions half run when it is loaded."""
    functions = "".join(
        f"function f{k}(given) {{\n"
        f"  const found = [];\n"
        f"  for (const one of given) if (one % {k + 2} === 0) found.push(one + {n}); else found.unshift(one - {k});\n"
        f"  return found.map((one) => one * {k}).reduce((sum, one) => sum + one, 0);\n"
        f"}}\n"
        for k in range(FUNCTIONS_EACH)
    )
    run = " + ".join(f"f{k}([1, 2, 3])" for k in range(0, FUNCTIONS_EACH, 2))
    return f"{functions}exports.sum = {run};\n"


def _spec(shop: Workshop, node: Node, name: str, *, snapshot: bool = False) -> FunctionSpec:
    code = shop.code(name)
    _write(code, name)
    own = shop.runtime.python
    runtime = Runtime(
        name="node", kind="node", python=own, command=(node.path,), release=node.release, snapshot=snapshot
    )
    return FunctionSpec(
        name=name,
        version=f"{name}-node-{snapshot}",
        code=code,
        handler="index:handler",
        runtime=runtime,
        containment=LIMITS,
        rehearsal="none",
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table."""
    node = arguments[0] if arguments else shutil.which("node")
    if node is None:
        sys.exit("there is no node on PATH: name the program")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{machine()}, Node.js {version}", file=sys.stderr)
    with workshop() as shop:
        print(render(uvloop.run(measure(shop, Node(node, version.removeprefix("v"))))))


if __name__ == "__main__":
    main(sys.argv[1:])
