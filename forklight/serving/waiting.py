"""Waiting for others before the start. After a boot, the server and its broker start at the same time."""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import anyio

from bus import rabbitmq
from bus.store import UnreachableError
from forklight.config.functions import Settings

_AGAIN_S = 1.0
_REPORT_EVERY_S = 30.0


def broker_urls(settings: Settings) -> list[str]:
    """Return the URLs of all brokers that the stores of this configuration connect to."""
    own = [] if settings.bus.url.is_embedded else [str(settings.bus.url)]
    return [*own, *(str(broker.url) for broker in settings.brokers.values())]


async def wait_for_brokers(urls: Sequence[str], limit_s: float, report: Callable[[str], None]) -> None:
    """Wait until all brokers accept us. Raises UnreachableError after `limit_s`, StoreError if waiting cannot help.

    `report` is called with a sentence about the wait, at once and every half minute.
    """
    end_s = monotonic() + limit_s
    reported_s = float("-inf")
    for url in urls:
        while True:
            try:
                await rabbitmq.reach(url)
                break
            except UnreachableError as error:
                now_s = monotonic()
                if now_s + _AGAIN_S > end_s:
                    raise
                if now_s - reported_s >= _REPORT_EVERY_S:
                    reported_s = now_s
                    report(f"waiting for up to {end_s - now_s:.0f} s more: {error}")
            await anyio.sleep(_AGAIN_S)


async def unless_ended(work: Callable[[], Awaitable[None]], ends: Callable[[], Awaitable[None]]) -> bool:
    """Do the work until `ends` returns. Return whether it was done. Raises what the work raises."""
    is_done, errors = False, list[Exception]()

    async def run() -> None:
        nonlocal is_done
        try:
            await work()
            is_done = True
        except Exception as error:  # raised below: a task group would wrap it
            errors.append(error)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await ends()
        tasks.cancel_scope.cancel()
    if errors:
        raise errors[0]
    return is_done
