"""`python -m benchmarks.tree [--heavy]`: what the process tree costs, in one table. As root or as an ordinary user.

Everything runs in one process on one event loop, what is compared in turns. It takes under a minute, without the first
download of `--heavy`.
"""

import argparse
import os
import platform
import sys

import anyio
import uvloop

from benchmarks import ends, footprint, tree_starts, warm
from benchmarks.heavy import python_with_libraries
from benchmarks.table import Row, render
from benchmarks.workshop import Workshop, workshop

LIMIT_S = 60.0


async def measure(hello: Workshop, heavy: Workshop | None) -> list[Row]:
    """All rows. Raises TimeoutError if the machine is too slow or too busy for the figures to mean anything."""
    with anyio.fail_after(LIMIT_S):
        rows = await warm.measure(hello)
        rows += await tree_starts.measure(hello, "hello", forks=300, loads=50)
        rows += await tree_starts.measure_boot(hello)
        if heavy is not None:
            rows += await tree_starts.measure(heavy, "with_numpy", forks=150, loads=8)
            rows += await tree_starts.measure(heavy, "with_fastapi", forks=150, loads=8)
        rows += await ends.measure(hello)
        rows += await footprint.measure(hello, "hello")
        rows += await footprint.measure_idle(hello)
        return rows


def machine() -> str:
    """What the figures depend on."""
    user = "root" if os.getuid() == 0 else "an ordinary user"
    load, _, _ = os.getloadavg()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, Linux {platform.release()}, {os.cpu_count()} CPUs, as {user}, load {load:.2f} at the start"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree", description="What the process tree costs.")
    parser.add_argument("--heavy", action="store_true", help="also functions that import numpy and fastapi")
    heavy_python = python_with_libraries() if parser.parse_args().heavy else None
    print(machine(), file=sys.stderr)
    with workshop() as hello:
        if heavy_python is None:
            rows = uvloop.run(measure(hello, None))
        else:
            with workshop(heavy_python) as heavy:
                rows = uvloop.run(measure(hello, heavy))
    print(render(rows))


if __name__ == "__main__":
    main()
