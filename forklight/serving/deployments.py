"""What a server serves: its own configuration, and the releases of the applications that were deployed to it.

A `Deployments` is a value without I/O. `deployed_together` makes of it what the dispatcher and the triggers serve: the
functions of live releases under their names, and beside them those of a canary as *variants*, `FUNCTION@NUMBER`, which
get a share of the events. A variant of another kept release is served from the first event on that asks for it, until
the next change of what is served.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from dispatcher.settings import Function, PoolSettings
from dispatcher.split import AT, variant_name
from forklight.config.composed import Part, composed
from forklight.config.configuration import Config
from forklight.config.deployed import as_written
from forklight.config.problem import ConfigError, Problem
from forklight.observe.status import Unserved
from forklight.serving.deployment import ApplicationStatus, ReleaseStatus
from forklight.serving.versions import Versions
from forklight.state.releases import Application, Applications, Release, ReleaseError, packages
from sandbox.spec import FunctionSpec

Key = tuple[str, int]
"""An application and the number of a release."""


class Loaded(Struct, frozen=True, kw_only=True):
    """A configuration with a version of each function, whose code is a snapshot: all that serving it takes."""

    config: Config
    versions: Versions

    @property
    def functions(self) -> dict[str, Function]:
        """Each function's version and pool."""
        pools = {name: function.pool for name, function in self.config.functions.items()}
        return {name: Function(spec=spec, pool=pools[name]) for name, spec in self.versions.specs.items()}


class Deployments(Struct, frozen=True, kw_only=True):
    """`loaded` has the releases that can be served at once, `failed` why others cannot be loaded."""

    base: Loaded
    applications: Applications = {}
    loaded: dict[Key, Loaded] = {}
    failed: dict[Key, tuple[Problem, ...]] = {}

    def live(self, name: str) -> Loaded | None:
        """The live release of an application, if it is loaded."""
        number = self.applications[name].live if name in self.applications else None
        return None if number is None else self.loaded.get((name, number))

    def canary(self, name: str) -> Loaded | None:
        """The canary of an application, if there is one and it is loaded."""
        canary = self.applications[name].canary if name in self.applications else None
        return None if canary is None else self.loaded.get((name, canary.number))

    def missing(self) -> list[tuple[str, Release]]:
        """The kept releases that are neither loaded nor known to fail."""
        every = [(name, release) for name, app in self.applications.items() for release in app.releases]
        known = self.loaded.keys() | self.failed.keys()
        return [(name, release) for name, release in every if (name, release.number) not in known]

    def packages(self) -> frozenset[str]:
        """The packages that are needed: those of the releases, and those that code comes from."""
        configs = [self.base.config, *(one.config for one in self.loaded.values())]
        return packages(self.applications).union(*(one.packages for one in configs))

    def with_application(self, name: str, app: Application) -> "Deployments":
        """The application as it is now. What is not kept any more is forgotten."""
        kept = {release.number for release in app.releases}

        def is_kept(key: Key) -> bool:
            return key[0] != name or key[1] in kept

        return replace(
            self,
            applications=self.applications | {name: app},
            loaded={key: one for key, one in self.loaded.items() if is_kept(key)},
            failed={key: one for key, one in self.failed.items() if is_kept(key)},
        )

    def with_release(self, key: Key, found: Loaded | tuple[Problem, ...]) -> "Deployments":
        """A release was loaded, or cannot be."""
        loaded = {one: value for one, value in self.loaded.items() if one != key}
        failed = {one: value for one, value in self.failed.items() if one != key}
        if isinstance(found, Loaded):
            return replace(self, loaded=loaded | {key: found}, failed=failed)
        return replace(self, loaded=loaded, failed=failed | {key: found})

    def number_of(self, function: str, version: str) -> int | None:
        """Return the number of the release that `7` or an alias means for a function. None: there is no such one.

        The function must be one of the live release.
        """
        for name, app in self.applications.items():
            live = self.live(name)
            if live is not None and function in live.config.functions:
                with suppress(ReleaseError):
                    return app.named(version)
        return None

    def variant(self, name: str) -> Function | None:
        """Return the variant `FUNCTION@NUMBER` of a kept release, which keeps nothing ready; None if there is none."""
        function, _, number = name.partition(AT)
        for app in self.applications:
            live = self.live(app)
            if live is not None and function in live.config.functions and number.isdecimal():
                one = self.loaded.get((app, int(number)))
                return _at_rest(one.functions[function]) if one and function in one.config.functions else None
        return None

    def absence(self, function: str, number: int) -> str:
        """Return why a kept release cannot serve an event of a function that asks for it; empty if it could, or is not
        kept."""
        for name, app in self.applications.items():
            live = self.live(name)
            if (
                live is None
                or function not in live.config.functions
                or all(one.number != number for one in app.releases)
            ):
                continue
            if (name, number) in self.failed:
                return f"version {number} is kept, but cannot be loaded: forklight versions tells why"
            if (one := self.loaded.get((name, number))) is None:
                return f"version {number} is kept, but not loaded yet: the server does that as soon as it can"
            if function not in one.config.functions:
                return f"version {number} of {name} is kept, but has no such function"
        return ""

    def specs(self) -> list[FunctionSpec]:
        """The versions of all functions that are loaded."""
        return [spec for one in (self.base, *self.loaded.values()) for spec in one.versions.specs.values()]

    def before(self, left: Mapping[str, int]) -> list[Function]:
        """The functions of the releases that a rollback goes back to, and of those that were `left` by the latest."""
        keys = [(name, app.before) for name, app in self.applications.items() if app.before is not None]
        return [
            function
            for key in dict.fromkeys((*keys, *left.items()))
            if key in self.loaded
            for function in self.loaded[key].functions.values()
        ]


class Together(Struct, frozen=True, kw_only=True):
    """What is served together. `functions` are the dispatcher's, with variants."""

    config: Config
    versions: Versions
    functions: dict[str, Function]
    labels: dict[str, int]
    """The number of the release of each function that was deployed."""
    splits: dict[str, tuple[str, float]]
    """By function, the variant that gets a share of its events, and that share, from 0 to 1."""


def deployed_together(now: Deployments, last: str = "") -> Together:
    """Return what is to be served. Problems between applications are those of the one named `last`.

    Raises ConfigError.
    """
    names = sorted((name for name in now.applications if now.live(name)), key=lambda name: (name == last, name))
    parts = [_part(now, name, now.applications[name].live) for name in names]
    canaries = [
        _part(now, name, app.canary.number)
        for name, app in now.applications.items()
        if app.canary is not None and now.live(name) and now.canary(name)
    ]
    try:
        config = composed(now.base.config, parts, canaries)
    except ConfigError as error:
        raise ConfigError(_as_written(error.problems, now, last)) from None
    loaded = [now.base, *(now.loaded[part.application, part.number] for part in parts)]
    functions = {name: function for one in loaded for name, function in one.functions.items()}
    labels = {name: part.number for part in parts for name in part.config.functions}
    versions = {name: version for one in loaded for name, version in one.versions.functions.items()}
    for canary in canaries:
        one = now.loaded[canary.application, canary.number]
        new = {name: version for name, version in one.versions.functions.items() if name not in functions}
        functions |= {name: one.functions[name] for name in new}
        versions |= new
        labels |= dict.fromkeys(new, canary.number)
    variants = {name: one for part in parts for name, one in _variants(now, part).items()}
    splits = {name: split for part in parts for name, split in _splits(now, part.application).items()}
    settings = {file: found for one in loaded for file, found in one.versions.settings.items()}
    return Together(
        config=config,
        versions=Versions(functions=versions, code=now.base.versions.code, settings=settings),
        functions=functions | variants,
        labels=labels,
        splits={name: split for name, split in splits.items() if split[0] in variants},
    )


def _as_written(problems: Iterable[Problem], now: Deployments, last: str) -> Iterable[Problem]:
    """Return the problems with paths from the folder of the application `last`, of others from the names of these."""
    for (name, _), loaded in now.loaded.items():
        problems = as_written(problems, loaded.config.path.parent, "" if name == last else name)
    return problems


def _part(now: Deployments, name: str, number: int | None) -> Part:
    assert number is not None
    return Part(application=name, number=number, config=now.loaded[name, number].config)


def _variants(now: Deployments, live: Part) -> dict[str, Function]:
    """Return the functions of the canary of an application, of those that its live release has, too."""
    canary, one = now.applications[live.application].canary, now.canary(live.application)
    if canary is None or one is None:
        return {}
    names = one.functions.keys() & live.config.functions.keys()
    return {variant_name(name, canary.number): one.functions[name] for name in sorted(names)}


def _at_rest(function: Function) -> Function:
    """Return the function with nothing kept ready, not even a template."""
    pool: PoolSettings = replace(function.pool, reserved=0, spare=0, rest="none")
    return Function(spec=function.spec, pool=pool)


def _splits(now: Deployments, name: str) -> dict[str, tuple[str, float]]:
    canary = now.applications[name].canary
    one = now.canary(name)
    if canary is None or one is None:
        return {}
    share = canary.percent / 100
    return {function: (variant_name(function, canary.number), share) for function in one.config.functions}


def statuses(now: Deployments) -> tuple[ApplicationStatus, ...]:
    """Return what is deployed, as `versions` shows it."""
    return tuple(_status(now, name, app) for name, app in sorted(now.applications.items()) if app.live is not None)


def _status(now: Deployments, name: str, app: Application) -> ApplicationStatus:
    roles = {app.live: "live"} | ({app.canary.number: "canary"} if app.canary else {})
    by_number: dict[int, list[str]] = {}
    for alias, number in sorted(app.aliases.items()):
        by_number.setdefault(number, []).append(alias)
    releases = [
        ReleaseStatus(
            number=one.number,
            package=one.package,
            at=one.at,
            by=one.by,
            size_bytes=one.size_bytes,
            role=roles.get(one.number, ""),  # type: ignore[arg-type]
            aliases=tuple(by_number.get(one.number, ())),
            functions=_hashes(now.loaded.get((name, one.number))),
            aborted=one.aborted,
            problem=told(now.failed.get((name, one.number), ())),
        )
        for one in reversed(app.releases)
    ]
    return ApplicationStatus(
        name=name,
        releases=tuple(releases),
        live=app.live,
        canary=app.canary.number if app.canary else None,
        canary_percent=app.canary.percent if app.canary else 0,
        before=app.before,
        aliases=app.aliases,
        problem="" if now.live(name) else told(now.failed.get((name, app.live or 0), ())),
    )


def _hashes(loaded: Loaded | None) -> dict[str, str]:
    return {} if loaded is None else {name: spec.version for name, spec in loaded.versions.specs.items()}


def unserved(now: Deployments) -> tuple[Unserved, ...]:
    """Return the live releases and canaries that do not serve, and why."""
    serving = [(name, release) for name, app in sorted(now.applications.items()) for release in app.served]
    return tuple(
        Unserved(application=name, version=release.number, problem=told(now.failed[name, release.number]))
        for name, release in serving
        if (name, release.number) in now.failed
    )


def told(problems: Iterable[Problem]) -> str:
    """Return the problems in one text, a line each."""
    return "\n".join(map(str, problems))


def without_clashes(now: Deployments) -> Deployments:
    """Return the deployments without the applications that do not go together with the base or with earlier ones."""
    names = sorted(name for name in now.applications if now.live(name))
    kept: Mapping[str, Application] = {}
    for name in names:
        trial = replace(now, applications={**kept, name: now.applications[name]})
        try:
            deployed_together(trial, last=name)
        except ConfigError as error:
            live = now.applications[name].live
            assert live is not None
            now = now.with_release((name, live), error.problems)
        else:
            kept = trial.applications
    return now
