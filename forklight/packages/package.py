"""Makes the package of an application: a zip of what its configuration names, the same for the same files. Blocks.

Names are sorted, times are 1980, modes are 0644 or 0755; there are no folders, links and extra fields. Only the
compressed bytes depend on more, the version of zlib.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Set
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from msgspec import Struct

from forklight.code.archive import is_archive
from forklight.code.examine import LONGEST_NAME_BYTES, name_problem
from forklight.code.files import collect, opened
from forklight.code.selection import CodeError
from forklight.packages.errors import PackageError

_LEVEL = 6
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip can name."""
_UNIX = 3


class Built(Struct, frozen=True, kw_only=True):
    """A package: the hash of its bytes in hexadecimal, and the names in it, sorted."""

    sha256: str
    size_bytes: int
    files: tuple[str, ...]


def build(
    folder: Path,
    target: Path,
    *,
    code: Iterable[Path] | None = None,
    also: Iterable[Path] = (),
    apart: Set[Path] = frozenset(),
) -> Built:
    """Write the package of the application in `folder` to `target`, and return what it is.

    It holds what snapshots take of each place of `code` (directories, modules and zips; `folder` by default) without
    `apart`, and the files `also`, such as the configuration. All lie in `folder`. Raises CodeError and PackageError,
    which name the file; `target` is gone then.
    """
    base = Path(os.path.abspath(folder))
    taken: dict[str, Path] = {}
    named = {Path(os.path.abspath(path)) for path in also}
    for place in {base} if code is None else {Path(os.path.abspath(path)) for path in code}:
        if is_archive(place):
            named.add(place)
        else:
            taken |= _of_code(place, base, apart | {target} | named)
    taken |= {_name_in(path, base): path for path in named}
    for name in taken:
        _require_name(name)
    try:
        _write(taken, base, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Built(sha256=sha256, size_bytes=target.stat().st_size, files=tuple(sorted(taken)))


def _of_code(place: Path, base: Path, apart: Set[Path]) -> dict[str, Path]:
    """Return the files of the code in `place` by their names in the package."""
    root = place if place.is_dir() else place.parent
    prefix = _name_in(root, base)
    return {f"{prefix}/{file.name}" if prefix else file.name: file.path for file in collect(place, apart)}


def _name_in(path: Path, base: Path) -> str:
    """Return the name of `path` from `base`, empty for `base` itself. Raises PackageError if it is outside."""
    inside = path.is_relative_to(base)
    if not (inside and path.resolve().is_relative_to(base.resolve())):
        what = f"{path} is a link to {path.resolve()}" if inside else str(path)
        raise PackageError(f"{what}, which is outside of the application {base}: copy it there")
    return path.relative_to(base).as_posix() if path != base else ""


def _require_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackageError(f"the name of the file {name!r} is not UTF-8: rename it, or leave it out") from None
    if (problem := name_problem(name)) is not None:
        advice = f"at most {LONGEST_NAME_BYTES} bytes: rename it" if "long" in problem else "rename it"
        raise PackageError(f"the file {name!r} {problem.partition(':')[0]}: {advice}, or leave it out")


def _write(taken: dict[str, Path], base: Path, target: Path) -> None:
    root = base.resolve()
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in sorted(taken):
            _add(archive, name, taken[name], root)


def _add(archive: ZipFile, name: str, path: Path, root: Path) -> None:
    with opened(path.resolve(), root) as source, open(source, "rb", closefd=False) as content:
        before = os.fstat(source)
        member = ZipInfo(name, _EPOCH)
        member.create_system, member.compress_type = _UNIX, ZIP_DEFLATED
        member.external_attr = (0o100755 if before.st_mode & 0o100 else 0o100644) << 16
        member.file_size = before.st_size
        with archive.open(member, "w") as copied:
            shutil.copyfileobj(content, copied)
        after = os.fstat(source)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CodeError(f"{path} changes while it is read: try again when it is written")
