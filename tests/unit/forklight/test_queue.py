"""The queue keys, `[bus]` and `[brokers.NAME]`: what they become, and every mistake in its place."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from bus.declaration import Declaration
from bus.retry import RetryPolicy
from forklight.config.configuration import Config, load
from forklight.config.problem import ConfigError
from forklight.config.queue import BusUrl, declarations_of, told
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


def test_a_consumer_takes_as_many_messages_as_there_are_slots(tmp_path: Path) -> None:
    """On RabbitMQ a consumer cannot hold more than 65,535."""
    limits = "max_instances = 2\nconcurrency = 500\n"
    (queue,) = _queues(tmp_path, f'[functions.f]\n{HANDLER}queue = "a"\n{limits}')
    assert (queue.slots, queue.prefetch) == (1000, 1000)
    (batched,) = _queues(tmp_path, f'[functions.f]\n{HANDLER}{limits}[[functions.f.queue]]\nqueue = "a"\nbatch = 100\n')
    assert (batched.slots, batched.prefetch) == (1000, 65_535)
    (fresh,) = _queues(tmp_path, f'[functions.f]\n{HANDLER}queue = "a"\n{limits}max_invocations = 1\n')
    assert fresh.slots == 2, "an instance gets no more events at once than it may ever run"
    (most,) = _queues(tmp_path, f'[functions.f]\n{HANDLER}queue = "a"\nconcurrency = 10000\n')
    assert (most.slots, most.prefetch) == (65_535, 65_535)


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


ON_A_BROKER = f'[bus]\nurl = "amqp://localhost/"\n[brokers.shop]\nurl = "amqp://shop/"\n[functions.f]\n{HANDLER}'


def test_queues_are_declared_as_their_tables_say(tmp_path: Path) -> None:
    toml = f"""{ON_A_BROKER}queue = "orders"
[queues.orders]
type = "classic"
arguments = {{ x-max-priority = 3, x-queue-mode = "lazy" }}
[queues."bills@shop"]
declare = false
arguments = {{ x-single-active-consumer = true }}
[queues."a.b"]
"""
    config = _load(tmp_path, toml)
    orders = Declaration(type="classic", arguments={"x-max-priority": 3, "x-queue-mode": "lazy"})
    bills = Declaration(declare=False, arguments={"x-single-active-consumer": True})
    assert declarations_of(config.settings.queues, config.settings.brokers) == {
        "": {"orders": orders, "a.b": Declaration()},
        "shop": {"bills": bills},
    }
    assert config.warnings == ()
    assert orders.whole(4) == {"x-max-priority": 3, "x-queue-mode": "lazy"}
    assert bills.whole(3) == {"x-queue-type": "quorum", "x-single-active-consumer": True}
    assert Declaration().whole(4) == {"x-queue-type": "quorum", "x-delivery-limit": -1}
    assert Declaration(arguments={"x-delivery-limit": 3}).whole(4) == {"x-queue-type": "quorum", "x-delivery-limit": 3}


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("arguments = { x-max-lenght = 1 }", "is not an argument that Forklight knows: .*x-max-length"),
        ('arguments = { x-queue-type = "classic" }', "is the key `type` of this table"),
        ('arguments = { x-max-length = "9" }', "must be an integer from 0$"),
        ("arguments = { x-max-length = true }", "must be an integer from 0$"),
        ("arguments = { x-max-length = [1] }", "must be a string, an integer, or true or false, not a list$"),
        ('arguments = { x-overflow = "drop" }', 'must be "reject-publish" or "drop-head" or "reject-publish-dlx"$'),
        ("arguments = { x-max-priority = 3 }", 'is for classic queues: add type = "classic"$'),
        ('type = "classic"\narguments = { x-max-priority = 256 }', "must be an integer from 1 to 255$"),
        ('type = "classic"\narguments = { x-delivery-limit = 3 }', "is for quorum queues$"),
        ('arguments = { x-overflow = "reject-publish-dlx" }', "in classic queues only$"),
        ('type = "stream"', '"stream" is not "classic" or "quorum"$'),
        ("types = 1", "did you mean 'type'"),
    ],
)
def test_what_no_queue_can_have(tmp_path: Path, written: str, why: str) -> None:
    [problem] = _problems(tmp_path, f"{ON_A_BROKER}\n[queues.orders]\n{written}")
    assert problem.startswith(("8 queues.orders", "9 queues.orders", "10 queues.orders"))
    assert re.search(why, problem), problem


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("x-message-ttl = 60000", "drop messages that wait for longer: use max_age"),
        ("x-expires = 60000", "delete the queue with its messages"),
        ('x-dead-letter-exchange = ""', "the queue that its dead_letter names"),
        ('x-dead-letter-routing-key = "a"', "the queue that its dead_letter names"),
        ('x-dead-letter-strategy = "at-least-once"', "the queue that its dead_letter names"),
        ("x-delivery-limit = 20", "attempts in the function's queue table"),
        ("x-single-active-consumer = true", "through several consumers"),
        ('x-overflow = "drop-head"', 'must be "reject-publish"'),
        ("x-max-length = 10", 'needs x-overflow = "reject-publish"'),
        ("x-max-length-bytes = 10", 'needs x-overflow = "reject-publish"'),
    ],
)
def test_what_breaks_a_promise_is_for_queues_of_other_programs(tmp_path: Path, arguments: str, why: str) -> None:
    consumes = '[[functions.f.queue]]\nqueue = "orders"\nbroker = "shop"\ndead_letter = "dead"\n'
    for name in ("orders", "dead"):
        toml = f'{ON_A_BROKER}{consumes}[queues."{name}@shop"]\narguments = {{ {arguments} }}\n'
        [problem] = _problems(tmp_path, toml)
        assert problem.startswith("12 ")
        assert why in problem
        _load(tmp_path, toml.replace(f'"{name}@shop"', f'"{name}"'))  # another queue


def test_queues_that_cannot_be_declared(tmp_path: Path) -> None:
    [reserved, unknown] = _problems(tmp_path, f'{ON_A_BROKER}\n[queues."forklight.inbox.f"]\n[queues."a@shp"]\n')
    assert reserved.endswith("names that begin with forklight. or amq. are reserved")
    assert unknown.endswith("there is no [brokers.shp] (did you mean 'shop'?)")
    [type_] = _problems(tmp_path, f'{ON_A_BROKER}[[functions.f.queue]]\nqueue = "a"\ntype = "classic"\n')
    assert type_.endswith("unknown key: it belongs to the queue, not to the function: write type below [queues.NAME]")


@pytest.mark.parametrize(("variable", "count"), [("", 1), ("sqlite:", 1), ("amqp://localhost/", 0)])
def test_the_embedded_store_declares_nothing_and_says_so(tmp_path: Path, variable: str, count: int) -> None:
    toml = f'[functions.f]\n{HANDLER}[queues.a]\ntype = "classic"\n[queues."b@shop"]\n[brokers.shop]\nurl = "amqp://a/"'
    (tmp_path / "forklight.toml").write_text(toml)
    warnings = [str(one) for one in load(tmp_path, {"FORKLIGHT_BUS_URL": variable}).warnings]
    assert len(warnings) == count
    assert all("3 queues.a: has no effect here: it is for brokers" in one for one in warnings)
