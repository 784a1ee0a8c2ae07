"""`reuse`, and what it may not stand beside."""

from pathlib import Path

import pytest

from dispatcher.settings import PoolSettings
from forklight.config.configuration import load
from forklight.config.problem import ConfigError

HEAD = '[functions.f]\nhandler = "f:handler"\n'
ORDERS = HEAD + 'http = "/orders/{id:int}"\n'


def problems(folder: Path, toml: str) -> list[str]:
    (folder / "forklight.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(folder, {})
    return [str(problem).replace(f"{folder}/forklight.toml:", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    "reuse",
    ["always", "never", "key:header.x-session", "key:path.id", "key:query.q", "key:cookie.sid", "key:data.user.id"],
)
def test_an_instance_is_reused_as_configured(tmp_path: Path, reuse: str) -> None:
    (tmp_path / "forklight.toml").write_text(f'{ORDERS}reuse = "{reuse}"\nspare = 3\n')
    pool: PoolSettings = load(tmp_path, {}).functions["f"].pool

    assert (pool.reuse, pool.spare) == (reuse, 3)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        (
            f'{ORDERS}reuse = "key:header"\n',
            '4 functions.f.reuse: "key:header" does not name a part of the event: write "key:header.NAME"',
        ),
        (
            f'{ORDERS}reuse = "key:path.user"\n',
            "4 functions.f.reuse: no route of the function has a parameter 'user' in its path: there is id",
        ),
        (
            f'{HEAD}http = "/"\nreuse = "key:path.id"\n',
            "4 functions.f.reuse: no route of the function has a parameter 'id' in its path: they have no parameter",
        ),
        (f'{HEAD}reuse = "key:cookie.sid"\n', "3 functions.f.reuse: no event has a cookie: the function has no http"),
        (
            f'{HEAD}timer = "* * * * *"\nreuse = "key:header.h"\n',
            "4 functions.f.reuse: no event has headers: the function has neither http nor queue",
        ),
        (
            f'{HEAD}reuse = "key:data.id"\nconcurrency = 2\n',
            '4 functions.f.concurrency: an instance with reuse = "key:data.id" runs one event at a time: leave it out',
        ),
        (
            f'{HEAD}reuse = "never"\nmax_invocations = 2\n',
            '4 functions.f.max_invocations: an instance with reuse = "never" runs one event only: leave it out',
        ),
        (
            f'{HEAD}reuse = "key:data.id"\n[[functions.f.queue]]\nqueue = "a"\nbatch = 2\n',
            "3 functions.f.reuse: the messages of a batch may have different keys: leave out batch, or the key",
        ),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, toml: str, problem: str) -> None:
    assert problems(tmp_path, toml) == [problem]
