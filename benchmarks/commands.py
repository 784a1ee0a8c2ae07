"""`python -m benchmarks.commands`: how long commands that run no server take to start, beside a bare interpreter."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks.table import Row, Target, quantiles, render

TURNS = 30
TARGET = Target(2.5, of_ratio=True)
BARE = ("-c", "import click, msgspec")


def main() -> None:
    """Print the table. `ps` and `logs` look for a server that does not run, and end with the message that says so."""
    with tempfile.TemporaryDirectory() as folder:
        asking = ("--state", folder)
        rows = [
            _row("forklight --version", ("-m", "forklight", "--version")),
            _row("forklight ps", ("-m", "forklight", "ps", *asking)),
            _row("forklight logs", ("-m", "forklight", "logs", *asking)),
        ]
    print(render(rows))


def _row(name: str, command: Sequence[str]) -> Row:
    ours, bare = [], []
    _elapsed_ms(command)  # reads the files from the disk, and compiles them
    for _ in range(TURNS):
        bare.append(_elapsed_ms(BARE))
        ours.append(_elapsed_ms(command))
    return Row(name, "ms", quantiles(ours), quantiles(bare), TARGET)


def _elapsed_ms(arguments: Sequence[str]) -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return (time.perf_counter() - began_s) * 1000


if __name__ == "__main__":
    main()
