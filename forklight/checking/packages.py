"""Whether the store of packages is in order, and has what the releases need. Blocks: it reads every package."""

from collections.abc import Set
from pathlib import Path

from forklight.checking.diagnosis import Check
from forklight.packages.errors import PackageError
from forklight.packages.store import PackageStore
from forklight.state.releases import Applications, ReleaseError, packages, read_releases

PACKAGES = "packages"


def store_check(state: Path) -> Check | None:
    """Return what was found in the store of a state directory, or None if it has no packages and needs none."""
    store = PackageStore(state)
    try:
        applications = read_releases(state)
        found = {path.stem: path.stat().st_size for path in store.packages.glob("*.zip")}
        if not (packages(applications) or found):
            return None
        problems = [*store.check(), *_missing(applications, found.keys())]
    except (PackageError, ReleaseError) as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"{error.filename}: {error.strerror}"]
    else:
        if not problems:
            total = sum(found.values()) / 1e6
            return Check(PACKAGES, True, f"{len(found)} in {store.packages}, {total:.1f} MB, all as they came")
    return Check(PACKAGES, False, "; ".join(problems))


def _missing(applications: Applications, found: Set[str]) -> list[str]:
    return [
        f"version {release.number} of {name} needs the package {release.package[:12]}, which is gone: deploy it again"
        for name, app in applications.items()
        for release in app.releases
        if release.package not in found
    ]
