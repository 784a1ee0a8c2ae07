"""What every test shares."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from sandbox.namespaces import missing_namespaces
from tests.kit.accounts import account
from tests.kit.broker import Node, running_node
from tests.kit.rounds import LONG
from tests.kit.sharing import claimed, claims, in_turn

# A busy machine is no bug: how long an example takes decides no test.
settings.register_profile("forklight", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forklight")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out long forms unless asked for, and tests of boxes where there can be none: those of levels say why."""
    if not LONG:
        forms = [item for item in items if item.get_closest_marker("long_form") is not None]
        config.hook.pytest_deselected(items=forms)
        items[:] = [item for item in items if item not in forms]
    boxes = [item for item in items if item.get_closest_marker("box") is not None]
    if boxes and missing_namespaces(account()):
        config.hook.pytest_deselected(items=boxes)
        items[:] = [item for item in items if item not in boxes]
    if claims(config):
        items[:], others = in_turn(items)
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With a folder of claims, run what nobody else has claimed; else leave it to pytest, which does the same with all.

    Each item's protocol has to know the next one, for the teardown of what they do not share.
    """
    folder = claims(session.config)
    if folder is None or session.testsfailed:
        return None
    found = claimed(session.items, folder)
    item = next(found, None)
    while item is not None:
        following = next(found, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Node]:
    """The run's private RabbitMQ node, for tests that stop it, block it or cut it off; started for the first one."""
    with running_node() as node:
        yield node


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> str:
    """A virtual host that is this test's alone on the private node; `AMQP_URL` instead if that is set."""
    given = os.environ.get("AMQP_URL")
    if given:
        return given
    node: Node = request.getfixturevalue("rabbitmq")
    return node.fresh_url()
