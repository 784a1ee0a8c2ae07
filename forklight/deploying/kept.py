"""Reads the releases that are kept and not loaded, as after a start and after a reload of the base configuration.

That can take long: code is unpacked, compiled, or pulled from elsewhere. So no deploy waits for it. What was read is
added between two changes, if it still applies then.
"""

import logging
from functools import partial

import anyio
import anyio.to_thread

from forklight.serving.deployments import Deployments
from forklight.serving.deployments import Key as ReleaseKey
from forklight.serving.reload import Reloader
from forklight.serving.versions import restrict_all

log = logging.getLogger(__name__)


async def read_kept(reloader: Reloader) -> None:
    """Return once every kept release is loaded, or is known to fail."""
    while missing := reloader.deployed.missing():
        now, (name, release) = reloader.deployed, missing[0]
        read = partial(reloader.releases.with_loaded, now, name, release)
        then = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        await reloader.in_turn(partial(_add, reloader, (name, release.number), now, then))


async def _add(reloader: Reloader, key: ReleaseKey, now: Deployments, then: Deployments) -> None:
    """Add a release that was read when `now` was deployed; `then` has it."""
    deployed = reloader.deployed
    is_missing = any((name, release.number) == key for name, release in deployed.missing())
    if deployed.base is not now.base or not is_missing:
        return  # it is read again, or was loaded for a rollback, or is not kept any more
    found = then.loaded.get(key) or then.failed[key]
    reloader.deployed = after = deployed.with_release(key, found)
    try:
        await anyio.to_thread.run_sync(restrict_all, after.specs())
    except OSError as error:
        log.warning("version %d of %s may be out of reach for its functions: %s", key[1], key[0], error)
