"""What comes of a change of releases, whatever goes wrong."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from bus.store import StoreError
from dispatcher.change import NotLoaded
from forklight.config.problem import ConfigError
from forklight.deploying.probing import ProbeFailed
from forklight.packages.errors import PackageError
from forklight.packages.room import refusal
from forklight.serving.change import failed
from forklight.serving.deployment import Deployed
from forklight.serving.deployments import told
from forklight.serving.installing import InstallError
from forklight.serving.reloaded import lines as lines_of
from forklight.state.releases import ReleaseError

log = logging.getLogger(__name__)


async def attempted(application: str, state: Path, work: Callable[[], Awaitable[Deployed]]) -> Deployed:
    """Do the work; what goes wrong becomes its result. `state`: the directory that it writes to."""
    try:
        return await work()
    except ConfigError as error:
        return Deployed(ok=False, application=application, problems=error.problems)
    except (ReleaseError, PackageError, InstallError, ProbeFailed) as error:
        return Deployed(ok=False, application=application, error=str(error))
    except NotLoaded as error:
        return Deployed(ok=False, application=application, result=failed(error))
    except StoreError as error:
        return Deployed(ok=False, application=application, error=str(error))
    except OSError as error:
        return Deployed(ok=False, application=application, error=refusal(error, state))
    except Exception as error:  # a bug in a deploy must not end the server
        log.exception("a deploy failed")
        fault = f"a fault of the server, which its log tells: {type(error).__name__}: {error}"
        return Deployed(ok=False, application=application, error=fault)


def why(failed: Deployed) -> str:
    """Why a deploy failed, in as many lines as it has problems."""
    if failed.result is not None:
        return "\n".join(lines_of(failed.result))
    return failed.error or told(failed.problems)
