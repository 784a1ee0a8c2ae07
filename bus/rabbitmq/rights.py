"""The permissions that the broker's user needs: checked at start, so that nothing fails for lack of them later."""

import contextlib
from collections.abc import Iterator

from aio_pika.exceptions import PublishError
from aiormq.exceptions import ChannelAccessRefused

from bus.rabbitmq.link import ANSWER_LIMIT_S, Link, store_errors
from bus.rabbitmq.names import Names
from bus.store import RefusedError


@contextlib.contextmanager
def explained_rights(names: Names) -> Iterator[None]:
    """Add the required permissions to a RefusedError for lack of one."""
    try:
        yield
    except RefusedError as error:
        if not isinstance(error.__cause__, ChannelAccessRefused):
            raise
        ours = "^" + names.prefix.replace(".", r"\.") + ".*"
        raise RefusedError(
            f"{error}. In this virtual host the user must be allowed to configure, write and read {ours}, to write "
            "amq.default, and to read the queues that functions consume"
        ) from error.__cause__


async def rehearse_publishing(link: Link, names: Names) -> None:
    """Publish to a queue that does not exist. Raises RefusedError if the user may not publish."""
    with store_errors(f"{link.place}: cannot publish"):
        async with link.channel(confirms=True) as channel:
            with contextlib.suppress(PublishError):  # the expected answer, because the queue does not exist
                await channel.basic_publish(b"", routing_key=names.nobody, mandatory=True, timeout=ANSWER_LIMIT_S)
