"""Loads releases: the configuration of an unpacked package, and a snapshot of the code of each function. Blocks."""

import logging
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from forklight.config.configuration import Config
from forklight.config.deployed import as_written, load_deployed
from forklight.config.problem import ConfigError, Problem
from forklight.packages.errors import PackageError
from forklight.packages.store import PackageStore, StoreBounds
from forklight.serving.deployments import Deployments, Loaded, told, without_clashes
from forklight.serving.installing import Holder, remove_unused
from forklight.serving.renewal import Readings, Served
from forklight.serving.versions import NONE_SERVED, make_versions
from forklight.state.directory import State, close_secrets
from forklight.state.releases import Release, read_releases

log = logging.getLogger(__name__)


class Releases(Struct, frozen=True):
    """Where releases are loaded from. `environ` are the server's variables."""

    state: State
    store: PackageStore
    environ: Mapping[str, str]
    holder: Holder = field(default_factory=Holder)
    """Keeps their environments from being removed by others."""

    def configuration(self, application: str, package: str, base: Config) -> Config:
        """Return the configuration of a package.

        Raises ConfigError with places relative to the application's folder, and PackageError.
        """
        folder = self.store.unpacked(package)
        close_secrets(self.state.path)
        return load_deployed(application, folder, base, self.state.path, self.environ)

    def load(
        self,
        application: str,
        package: str,
        now: Deployments,
        served: Mapping[str, Served] = NONE_SERVED,
        readings: Readings | None = None,
    ) -> Loaded:
        """Return the release of a package. With `readings`, functions that see no change keep their served version.

        Raises ConfigError with places relative to the application's folder, PackageError and OSError.
        """
        config = self.configuration(application, package, now.base.config)
        self.holder.hold(config.environments.values())
        try:
            versions = make_versions(config, self.state, served, readings, beside=now.specs())
        except ConfigError as error:
            raise ConfigError(as_written(error.problems, config.path.parent)) from None
        return Loaded(config=config, versions=versions)

    def remove_unused(self, now: Deployments) -> None:
        """Remove the environments of runtimes that nothing needs, if releases are kept."""
        configs = [now.base.config, *(one.config for one in now.loaded.values())]
        keep = {environment.path for config in configs for environment in config.environments.values()}
        if now.applications:
            remove_unused(self.state.path, now.base.config.path, keep)

    def with_loaded(self, now: Deployments, application: str, release: Release) -> Deployments:
        """Return the deployments with this release, or with why it cannot be loaded."""
        key = (application, release.number)
        try:
            return now.with_release(key, self.load(application, release.package, now))
        except (ConfigError, PackageError, OSError) as error:
            log.error("version %d of %s cannot be loaded:\n%s", release.number, application, error)
            return now.with_release(key, problems_of(error))
        except Exception as error:  # a bug that one release brings to light must not keep the others from serving
            log.exception("version %d of %s cannot be loaded", release.number, application)
            return now.with_release(key, problems_of(error))


def problems_of(error: Exception) -> tuple[Problem, ...]:
    """Return what a release cannot be loaded for."""
    return error.problems if isinstance(error, ConfigError) else (Problem("package", 0, "", str(error)),)


def bounds_of(config: Config) -> StoreBounds:
    """Return the bounds of the store that `[deploy]` sets."""
    deploy = config.settings.deploy
    return StoreBounds(package_bytes=deploy.max_package_bytes, unpacked_bytes=deploy.max_unpacked_bytes)


def deployments_at_start(base: Loaded, releases: Releases) -> Deployments:
    """Return what is deployed, with the releases loaded that serve or that an alias names.

    One that cannot be loaded, or does not go together with the others, is left out and logged: the others serve. Raises
    ReleaseError if the file of releases cannot be used.
    """
    now = Deployments(base=base, applications=read_releases(releases.state.path))
    for name, app in now.applications.items():
        for release in app.releases:
            if release in app.served or release.number in app.aliases.values():
                now = releases.with_loaded(now, name, release)
    return _without_clashes(now)


def reloaded(
    now: Deployments, base: Loaded, releases: Releases, served: Mapping[str, Served], readings: Readings | None
) -> Deployments:
    """Return the deployments with another base configuration, and with what serves or has an alias read again for it.

    Other releases are loaded later. One that serves has to load; one that did not serve may fail again. Raises
    ConfigError and OSError.
    """
    after = replace(now, base=base, loaded={}, failed={})
    for name, app in now.applications.items():
        for release in app.served:
            if (name, release.number) not in now.loaded:
                after = releases.with_loaded(after, name, release)
                continue
            keeps = readings if release.number == app.live else None
            try:
                loaded = releases.load(name, release.package, after, served, keeps)
            except PackageError as error:
                raise ConfigError(problems_of(error)) from None
            except ConfigError as error:
                raise ConfigError(_of_application(error, name)) from None
            after = after.with_release((name, release.number), loaded)
        for release in app.releases:  # requests may ask for these
            if release.number in app.aliases.values() and release not in app.served:
                after = releases.with_loaded(after, name, release)
    unserved = {name for name in now.applications if not now.live(name)}
    return _without_clashes(after, only=unserved)


def _of_application(error: ConfigError, name: str) -> list[Problem]:
    return [replace(one, file=f"{name}/{one.file}") for one in error.problems]


def _without_clashes(now: Deployments, only: set[str] | None = None) -> Deployments:
    """Leave out what does not go together, of the applications `only`, and log it."""
    trial = without_clashes(now)
    for key in trial.failed.keys() - now.failed.keys():
        if only is None or key[0] in only:
            log.error("version %d of %s cannot be served:\n%s", key[1], key[0], told(trial.failed[key]))
            now = now.with_release(key, trial.failed[key])
    return now
