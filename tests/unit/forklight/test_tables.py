"""Where a key belongs that was written in another table, and how it is written there."""

from pathlib import Path

import pytest

from forklight.config.configuration import load
from forklight.config.functions import Settings
from forklight.config.problem import ConfigError
from forklight.config.reader import keys
from forklight.config.tables import Table, tables

F = '[functions.f]\nhandler = "f:h"\n'


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (
            F + 'http = "POST /up"\nmax_body = "20MB"',
            (
                'functions.f.max_body: unknown key: belongs to [[functions.f.http]]: write http = { path = "/up", '
                'methods = ["POST"], max_body = "20MB" }'
            ),
        ),
        (
            F + 'http = ["/a", "/b"]\nauth = "key"',
            'functions.f.auth: unknown key: belongs to [[functions.f.http]]: write auth = "key" there',
        ),
        (
            F + 'queue = "orders"\nattempts = 3',
            (
                "functions.f.attempts: unknown key: belongs to [[functions.f.queue]]: "
                'write queue = { queue = "orders", attempts = 3 }'
            ),
        ),
        (
            F + 'queue = "orders"\ndecode = "json"',
            (
                "functions.f.decode: unknown key: belongs to [[functions.f.queue]]: "
                'write queue = { queue = "orders", decode = "json" }'
            ),
        ),
        (
            F + 'decode = "json"',
            (
                "functions.f.decode: unknown key: belongs to [[functions.f.http]] or [[functions.f.queue]]: "
                'write decode = "json" there'
            ),
        ),
        (
            F + 'timer = "@daily"\nTimeZone = "Europe/Berlin"',
            "functions.f.TimeZone: unknown key: timezone belongs to [[functions.f.timer]]: write timer =",
        ),
        (
            F + 'timer = "@daily"\ntime-zone = "UTC"\nbatch-window = "1s"',
            (
                "functions.f.batch-window: unknown key: batch_window belongs to [[functions.f.queue]]: "
                'write batch_window = "1s" there'
            ),
        ),
        (
            F + 'init = "f:begin"',
            'functions.f.init: unknown key: belongs to [functions.f.hooks]: write hooks = { init = "f:begin" }',
        ),
        (
            F + 'name = "greet"',
            "functions.f.name: unknown key: the name of a function is that in its header, [functions.NAME]",
        ),
        (
            F + '[[functions.f.http]]\npath = "/"\nmemory = "1GB"',
            'functions.f.http[0].memory: unknown key: belongs to [functions.f]: write memory = "1GB" there',
        ),
        (
            f'[defaults]\nmax_body = "1MB"\n{F}',
            'defaults.max_body: unknown key: belongs to [[functions.NAME.http]]: write max_body = "1MB" there',
        ),
        (f'timeout = "1s"\n{F}', 'timeout: unknown key: belongs to [functions.NAME]: write timeout = "1s" there'),
        (f'listen = "a:1"\n{F}', 'listen: unknown key: belongs to [http] or [admin]: write listen = "a:1" there'),
        (
            f'{F}[http]\ncors = "*"',
            'http.cors: unknown key: belongs to [[functions.NAME.http]]: write cors = "*" there',
        ),
        (
            f"{F}concurrency = 0",
            "functions.f.concurrency: must be at least 1",
        ),
        (
            f"{F}concurrency = 10001",
            "functions.f.concurrency: must be at most 10000",
        ),
        (
            f"[defaults]\nconcurrency = 2\n{F}",
            "defaults.concurrency: has no default: write it below the [functions.NAME] that need it",
        ),
        (
            f"{F}threads = 8",
            "functions.f.threads: unknown key: write max_instances, how many processes may run; or",
        ),
        (f"{F}[machine]\nreserved = 3", "machine.reserved: unknown key: belongs to [functions.NAME]: write"),
        (f"{F}[admin]\nname = 3", "admin.name: unknown key: there are certificate, key, listen"),
    ],
)
def test_a_key_in_the_wrong_table(tmp_path: Path, toml: str, told: str) -> None:
    (tmp_path / "forklight.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    found = [str(one).replace(f"{tmp_path}/forklight.toml", "").partition(" ")[2] for one in caught.value.problems]
    assert any(one.startswith(told) for one in found), found
    assert len(found) == toml.count("time-zone") + 1


def test_every_key_of_every_table_is_known() -> None:
    """The map is made of the structs, so it cannot lag behind them."""
    found = tables(Settings)
    assert found["max_body"] == (Table(("functions", "NAME", "http"), True),)
    assert {table.path for table in found["timeout"]} == {("functions", "NAME"), ("functions", "NAME", "http")}
    assert {key for key, places in found.items() if Table((), False) in places} == set(keys(Settings))


BROKEN_OTHERS = """
[functions.mine]
handler = "mine:h"
env = { LEVEL = "${LEVEL}" }
[functions.poor]
handler = "poor:h"
secrets = { KEY = { env = "NOT_SET" }, PASSWORD = { file = "secrets/none" } }
env_file = "none.env"
env = { A = "${NOT_SET_EITHER}" }
[functions.gone]
handler = "gone:h"
code = "nowhere"
[functions.elsewhere]
handler = "elsewhere:h"
runtime = "other"
[runtimes.other]
python = "/nowhere/python"
[bus]
url = "${BROKER}"
[[http.static]]
path = "/assets"
dir = "nowhere"
"""


def test_one_function_does_not_need_what_others_lack(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text(BROKEN_OTHERS)
    config = load(tmp_path, {"LEVEL": "info"}, only="mine")
    assert list(config.functions) == ["mine"]
    assert list(config.runtimes) == ["default"]
    assert {tmp_path / "none.env", tmp_path / "secrets/none"} <= config.no_code, "they still never get into a snapshot"
    with pytest.raises(ConfigError, match=r"functions.mine.env.LEVEL: needs what is not set"):
        load(tmp_path, {}, only="mine")
    for name, problems in (("poor", 4), ("gone", 1), ("elsewhere", 1)):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, {}, only=name)
        assert len(caught.value.problems) == problems, caught.value
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    assert len(caught.value.problems) == 9
