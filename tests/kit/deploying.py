"""A deployer that keeps a list of what it was asked for, over a real store of packages."""

from pathlib import Path

import anyio

from forklight.admin.applications import Report
from forklight.packages.store import PackageStore, StoreBounds
from forklight.serving.deployment import ApplicationStatus, Deployed, Step


class Recorder:
    """Says yes to everything. A deploy waits for `go` between its two steps."""

    def __init__(self, state: Path, bounds: StoreBounds | None = None) -> None:
        self.store = PackageStore(state, bounds)
        self.asked: list[tuple[object, ...]] = []
        self.go = anyio.Event()
        self.status: tuple[ApplicationStatus, ...] = ()

    async def deploy(
        self, application: str, package: str, *, by: str, canary_percent: float = 0, report: Report
    ) -> Deployed:
        self.asked.append(("deploy", application, package, by, canary_percent))
        report(Step(step="checking"))
        await self.go.wait()
        report(Step(step="switching", done=1, of=1, ms=2))
        return Deployed(ok=True, application=application, version=7, before=6, package=package)

    async def rollback(self, application: str, version: int | None, *, by: str) -> Deployed:
        return self._done("rollback", application, version, by)

    async def promote(self, application: str, *, by: str) -> Deployed:
        return self._done("promote", application, by)

    async def abort(self, application: str, *, by: str, reason: str = "") -> Deployed:
        return self._done("abort", application, by, reason)

    async def alias(self, application: str, name: str, version: int | None) -> Deployed:
        return self._done("alias", application, name, version)

    async def remove(self, application: str, *, by: str) -> Deployed:
        return self._done("remove", application, by)

    def applications(self) -> tuple[ApplicationStatus, ...]:
        return self.status

    def _done(self, what: str, application: str, *more: object) -> Deployed:
        self.asked.append((what, application, *more))
        return Deployed(ok=True, application=application, version=6)
