"""The queue keys, `[bus]` and `[brokers.NAME]`: what they become, and every mistake in its place."""

from pathlib import Path
from urllib.parse import quote

import pytest

from bus.retry import RetryPolicy
from forklight.config.configuration import Config, load
from forklight.config.problem import ConfigError
from forklight.config.queue import BusUrl, told
from triggers.queue.settings import QueueTrigger

HANDLER = 'handler = "f:h"\n'


def _load(folder: Path, toml: str) -> Config:
    (folder / "forklight.toml").write_text(toml)
    return load(folder, {"SHOP": "pw"})


def _queues(folder: Path, toml: str) -> list[QueueTrigger]:
    return [trigger for trigger in _load(folder, toml).queues if not trigger.queue.startswith("forklight.")]


def _problems(folder: Path, toml: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(folder, toml)
    return [str(problem).replace(f"{folder}/forklight.toml:", "") for problem in caught.value.problems]


def test_short_forms_take_every_default(tmp_path: Path) -> None:
    (first, second) = _queues(tmp_path, f'[functions.f]\n{HANDLER}queue = ["a", "b"]\nmax_instances = 3\n')
    assert first == QueueTrigger(function="f", queue="a", dead_letter="forklight.dead.f", slots=3)
    assert second.queue == "b"
    assert first.retry == RetryPolicy(attempts=5, backoff_s=1.0, max_age_s=None)


def test_the_long_form_says_everything(tmp_path: Path) -> None:
    toml = f"""[functions.f]
{HANDLER}
[[functions.f.queue]]
queue = "orders"
broker = "shop"
attempts = 2
backoff = "10s"
max_age = "1h"
batch = 20
batch_window = "100ms"
decode = "bytes"
declare = false
dead_letter = "orders.dead"
[bus]
url = "amqp://localhost/"
max_hops = 3
[brokers.shop]
url = "amqps://user:${{SHOP}}@mq.example/shop"
"""
    config = _load(tmp_path, toml)
    (trigger, inbox) = config.queues
    assert trigger == QueueTrigger(
        function="f",
        queue="orders",
        broker="shop",
        retry=RetryPolicy(attempts=2, backoff_s=10.0, max_age_s=3600.0),
        batch=20,
        batch_window_s=0.1,
        decode="bytes",
        declare=False,
        dead_letter="orders.dead",
        slots=8,
        max_hops=3,
    )
    assert trigger.prefetch == 160
    assert told(trigger) == "orders@shop"
    assert (inbox.queue, inbox.broker, inbox.max_hops) == ("forklight.inbox.f", "", 3)
    assert config.settings.brokers["shop"].url == "amqps://user:pw@mq.example/shop"  # type: ignore[index]
    assert not config.settings.bus.url.is_embedded


def test_every_function_has_an_inbox_and_the_bus_is_embedded_by_default(tmp_path: Path) -> None:
    config = _load(tmp_path, f"[functions.f]\n{HANDLER}[functions.g]\n{HANDLER}")
    assert [trigger.queue for trigger in config.queues] == ["forklight.inbox.f", "forklight.inbox.g"]
    assert config.settings.bus.url.is_embedded


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[[functions.f.queue]]\nattempts = 1\n", "3 functions.f.queue[0]: queue is missing"),
        ('queue = "forklight.x"\n', "3 functions.f.queue: the queue name 'forklight.x' is not allowed"),
        (f'queue = "{"ü" * 128}"\n', "3 functions.f.queue: the queue name 'üü"),
        ('[[functions.f.queue]]\nqueue = "a"\ndead_letter = "a"\n', "3 functions.f.queue[0]: dead_letter is the queue"),
        (
            '[[functions.f.queue]]\nqueue = "a"\nbatch_window = "1s"\n',
            "3 functions.f.queue[0]: batch_window needs batch",
        ),
        ('[[functions.f.queue]]\nqueue = "a"\nbatch = 0\n', "5 functions.f.queue[0].batch: must be at least 1"),
        (
            '[[functions.f.queue]]\nqueue = "a"\nbatch = 65536\n',
            "3 functions.f.queue[0]: batch = 65536: the limit is 65535",
        ),
        (
            '[[functions.f.queue]]\nqueue = "a"\nbroker = "shap"\n[brokers.shop]\nurl = "amqp://h/"\n',
            "5 functions.f.queue[0].broker: there is no [brokers.shap] (did you mean 'shop'?)",
        ),
        ('queue = ["a", "a"]\n', "3 functions.f.queue[1]: the function consumes 'a' twice"),
        ('[brokers.shop]\nurl = "http://h/"\n', '4 brokers.shop.url: "http://h/" is not a broker URL'),
        ('[bus]\nurl = "sqlite:///x"\n', '4 bus.url: "sqlite:///x" has a path'),
        ('[bus]\nurl = "postgres://h"\n', '4 bus.url: "postgres://h" is not a broker URL: write "amqp://guest'),
        ('queue = "a"\ntimeout = "31m"\n[bus]\nurl = "amqp://h/"\n', "3 functions.f.queue: the function's timeout is"),
    ],
)
def test_a_mistake_is_told_in_its_place(tmp_path: Path, toml: str, problem: str) -> None:
    (told_problem,) = _problems(tmp_path, f"[functions.f]\n{HANDLER}{toml}")
    assert told_problem.startswith(problem)


def test_a_password_is_never_repeated(tmp_path: Path) -> None:
    toml = f'[functions.f]\n{HANDLER}[brokers.shop]\nurl = "amqp:/user:${{SHOP}}@h"\n'
    (problem,) = _problems(tmp_path, toml)
    assert "pw" not in problem


@pytest.mark.parametrize("mark", "/?#")
@pytest.mark.parametrize("end", ["@mq.example/shop", "@mq.example:5672/", "1@mq.example"])
def test_a_password_that_is_not_escaped_is_told(mark: str, end: str) -> None:
    for password in (f"pa{mark}ss", f"12{mark}34", f"p@{mark}", f"{mark}x=1"):
        with pytest.raises(ValueError, match="%2F, %3F, %23") as raised:
            BusUrl.parse(f"amqp://user:{password}{end}")
        assert password not in str(raised.value)
        escaped = quote(password, safe="")
        assert BusUrl.parse(f"amqp://user:{escaped}{end}") == f"amqp://user:{escaped}{end}"


@pytest.mark.parametrize("url", ["amqps://u:p%40ss@mq/shop%2Fa?heartbeat=5&cafile=/etc/a@b.pem", "amqp://mq"])
def test_options_of_a_url(url: str) -> None:
    assert BusUrl.parse(url) == url


def test_an_unknown_option_of_a_url_is_no_option() -> None:
    with pytest.raises(ValueError, match="where none can be"):
        BusUrl.parse("amqp://mq/shop?hartbeat=5")
