"""Brokers that are not there yet: after a boot, the server and its broker start at the same time."""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import anyio

from bus.rabbitmq import reach
from bus.store import UnreachableError
from forklight.config.functions import Settings

_AGAIN_S = 1.0
_TOLD_EVERY_S = 30.0


def broker_urls(settings: Settings) -> list[str]:
    """Of all that the stores of this configuration will connect to."""
    own = [] if settings.bus.url.is_embedded else [str(settings.bus.url)]
    return [*own, *(str(broker.url) for broker in settings.brokers.values())]


async def wait_for_brokers(urls: Sequence[str], limit_s: float, told: Callable[[str], None]) -> None:
    """Until all of them let us in. Raises UnreachableError after `limit_s`, StoreError for what no waiting mends.

    `told` is called with what is waited for, at once and every half a minute.
    """
    end_s = monotonic() + limit_s
    told_s = float("-inf")
    for url in urls:
        while True:
            try:
                await reach(url)
                break
            except UnreachableError as error:
                now_s = monotonic()
                if now_s + _AGAIN_S > end_s:
                    raise
                if now_s - told_s >= _TOLD_EVERY_S:
                    told_s = now_s
                    told(f"waiting for up to {end_s - now_s:.0f} s more: {error}")
            await anyio.sleep(_AGAIN_S)


async def unless_ended(work: Callable[[], Awaitable[None]], ends: Callable[[], Awaitable[None]]) -> bool:
    """Do this work, but only until `ends` returns. Whether it was done."""
    is_done = False

    async def run() -> None:
        nonlocal is_done
        await work()
        is_done = True
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await ends()
        tasks.cancel_scope.cancel()
    return is_done
