"""`python -m benchmarks.dev [--saves N]`: how long after a save `forklight dev` answers by the new code.

A single file, and an application of ten functions whose code is 300 modules. Each save writes another number into one
module; asked without pause over a kept connection, the time until the first answer that has it is what counts.
"""

import argparse
import http.client
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks.http_servers import Server, forklight, running, state_folder
from benchmarks.table import Row, Target, quantiles, render
from benchmarks.tree import machine

VISIBLE = Target(500.0)
PAUSE_S = 0.3
"""Between an answer and the next save: what was replaced has ended, as with a person who reads the answer."""
LIMIT_S = 30.0
FUNCTIONS, MODULES = 10, 300


def save(path: Path, number: int) -> None:
    """As editors do: a new file in the place of the old."""
    new = path.with_name(f"{path.name}~")
    new.write_text(f"NUMBER = {number}\n\n\ndef handler(event):\n    return NUMBER\n")
    new.rename(path)


def single_file(folder: Path) -> tuple[Path, Path]:
    """What is served, and what is saved."""
    folder.mkdir()
    return folder / "hello.py", folder / "hello.py"


def application(folder: Path) -> tuple[Path, Path]:
    """The same of many functions."""
    (folder / "modules").mkdir(parents=True)
    for n in range(MODULES):
        (folder / f"modules/m{n}.py").write_text("".join(f"def f{k}(x):\n    return x + {k}\n\n" for k in range(20)))
    tables = [f'[functions.f{n}]\nhandler = "hello:handler"\nhttp = "/{n or ""}"\n' for n in range(FUNCTIONS)]
    (folder / "forklight.toml").write_text("\n".join(tables))
    return folder, folder / "hello.py"


def measure(name: str, served: Path, saved: Path, saves: int) -> Row:
    """One server, saved to again and again."""
    save(saved, 0)
    taken_ms = []
    with (
        state_folder() as state,
        running(_dev(served, state)) as up,
        closing(http.client.HTTPConnection("127.0.0.1", up.port, timeout=LIMIT_S)) as client,
    ):
        wait_for(client, 0)
        for number in range(1, saves + 1):
            time.sleep(PAUSE_S)
            begin_ns = time.monotonic_ns()
            save(saved, number)
            wait_for(client, number)
            taken_ms.append((time.monotonic_ns() - begin_ns) / 1e6)
    return Row(f"save to new answer, {name}", "ms", quantiles(taken_ms), None, VISIBLE)


def _dev(served: Path, state: Path) -> Server:
    server = forklight(served, state, sys.executable, name="forklight dev")
    return Server(server.name, tuple("dev" if argument == "serve" else argument for argument in server.argv))


def wait_for(client: http.client.HTTPConnection, number: int) -> None:
    """Ask until the answer is this number."""
    end_s = time.monotonic() + LIMIT_S
    body = b""
    while body != str(number).encode():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not answered with {number} within {LIMIT_S:g} s, but with {body!r}")
        client.request("GET", "/")
        body = client.getresponse().read()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dev", description="From a save to its answer.")
    parser.add_argument("--saves", type=int, default=50, metavar="N", help="of each application; default 50")
    saves = parser.parse_args().saves
    print(machine(), file=sys.stderr)
    rows = []
    for name, make in (
        ("a single file", single_file),
        (f"{FUNCTIONS} functions, {MODULES} modules", application),
    ):
        with state_folder() as folder:
            rows.append(measure(name, *make(folder / "app"), saves))
    print(render(rows))


if __name__ == "__main__":
    main()
