"""What a user of the broker must be allowed: tried at the start, so that nothing fails for it later."""

import contextlib
from collections.abc import Iterator

from aio_pika.exceptions import PublishError
from aiormq.exceptions import ChannelAccessRefused

from bus.rabbitmq.link import ANSWER_LIMIT_S, Link, store_errors
from bus.rabbitmq.names import Names
from bus.store import RefusedError


@contextlib.contextmanager
def told_rights(names: Names) -> Iterator[None]:
    """Adds to a refusal which rights are needed."""
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
    """Publish to a queue that nobody has. Raises RefusedError if that is forbidden."""
    with store_errors(f"{link.place} does not let us publish"):
        async with link.channel(confirms=True) as channel:
            with contextlib.suppress(PublishError):  # it comes back: there is no such queue
                await channel.basic_publish(b"", routing_key=names.nobody, mandatory=True, timeout=ANSWER_LIMIT_S)
