"""`python -m benchmarks.reload [--reloads N]`: a reload beside a function that is slow to load, under requests.

One module of a light function changes; the heavy function in the same folder, whose import works for a second, does not
use it. Beside each figure stands that of `forklight reload --all`, which renews the heavy function too.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.asking import Asking
from benchmarks.http_servers import Client, Running, forklight, running, state_folder
from benchmarks.table import Quantiles, Row, quantiles, render
from benchmarks.tree import machine
from forklight.admin.client import post

IMPORT_S = 1.0
FILES = {
    "forklight.toml": "".join(
        f'[functions.{name}]\nhandler = "{name}:handler"\nhttp = "/{name}"\nreserved = 1\n'
        for name in ("heavy", "light")
    ),
    "heavy.py": f"import time\nend_s = time.process_time() + {IMPORT_S}\nwhile time.process_time() < end_s:\n    pass\n"
    "def handler(event):\n    return 1\n",
    "light.py": "def handler(event):\n    return 1\n",
}


def reload(folder: Path, server: Running, number: int, *, renew_all: bool) -> tuple[float, float]:
    """Save the light function and reload; how long that took, and the slowest request meanwhile, in ms."""
    requests = Asking(server, "/heavy", "/light")
    with requests.asking():
        (folder / "app/light.py").write_text(f"{FILES['light.py']}# {number}\n")
        begin_ns = time.monotonic_ns()
        query = [("all", "1")] if renew_all else []
        answer = post(folder / "state", "/reload", b"", None, query=query)
        taken_ms = (time.monotonic_ns() - begin_ns) / 1e6
    if b'"ok":true' not in answer or (b'"heavy"' in answer.partition(b'"kept"')[0]) != renew_all:
        raise RuntimeError(f"not the reload that was meant: {answer!r}")
    return taken_ms, requests.slowest_ms()


def measure(reloads: int) -> list[Row]:
    """Both kinds of reload, alternately."""
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with state_folder() as folder:
        (folder / "app").mkdir()
        for name, text in FILES.items():
            (folder / "app" / name).write_text(text)
        with running(forklight(folder / "app", folder / "state", sys.executable, "--quiet")) as server:
            client = Client(server)
            for path in ("/heavy", "/light"):
                client.get(path)
            client.close()
            for number in range(reloads):
                for renew_all in (False, True):
                    found[renew_all].append(reload(folder, server, 2 * number + renew_all, renew_all=renew_all))

    def of(column: int, renew_all: bool) -> Quantiles:
        return quantiles([figures[column] for figures in found[renew_all]])

    names = ("reload of one light function", "slowest request meanwhile")
    return [Row(name, "ms", of(column, False), of(column, True)) for column, name in enumerate(names)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reload", description="A reload of one function.")
    parser.add_argument("--reloads", type=int, default=10, metavar="N", help="of each kind; default 10")
    reloads = parser.parse_args().reloads
    print(machine(), file=sys.stderr)
    print(render(measure(reloads)))


if __name__ == "__main__":
    main()
