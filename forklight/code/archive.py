"""Code in a zip: unpacked into a folder of its own while it is read. Nothing is written outside that folder.

What is in it is not trusted: `examine.py` looks at all of it first. Links are made last, so that nothing is written
through one; where they lead is looked at like in any directory.
"""

import os
import shutil
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from forklight.code.examine import CODE, Bounds, examine, is_link, refuse_too_many
from forklight.code.selection import CodeError
from forklight.state.directory import remove_tree

SUFFIX = ".zip"
_DAMAGED = (BadZipFile, NotImplementedError, EOFError, struct.error, zlib.error, LZMAError, MemoryError)
"""What zipfile and its decompressors raise."""


def is_archive(code: Path) -> bool:
    """Return whether `code` names a zip rather than a directory or a module."""
    return code.suffix == SUFFIX and os.path.isfile(code)


@contextmanager
def opened(code: Path, parent: Path | None = None) -> Iterator[Path]:
    """Yield `code`, or if it is a zip, a folder in `parent` with its content, removed at the end.

    Raises CodeError naming the member; one that the block raises about a file in the folder names the member too.
    """
    if not is_archive(code):
        yield code
        return
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=parent)).resolve()
    try:
        unpack(code, folder)
        yield folder
    except CodeError as error:
        raise CodeError(str(error).replace(str(folder), str(code))) from None
    finally:
        remove_tree(folder)


def unpack(code: Path, folder: Path, bounds: Bounds = CODE, shown: str = "") -> None:
    """Write what the zip `code` holds into `folder`, which exists and is empty. Raises CodeError, as `checked`."""
    with checked(code, bounds, shown) as archive:
        members = archive.infolist()
        for member in members:
            _write(archive, member, folder, shown or str(code))
        for member in members:
            if is_link(member):
                _link(archive, member, folder, shown or str(code))


@contextmanager
def checked(code: Path, bounds: Bounds = CODE, shown: str = "") -> Iterator[ZipFile]:
    """Yield the zip, in which everything may be unpacked. Raises CodeError, also for what the block cannot write.

    `shown` is how messages call the zip; by default, they give its path.
    """
    shown = shown or str(code)
    try:
        refuse_too_many(code, bounds, shown)
        with ZipFile(code) as archive:
            examine(archive, code.stat().st_size, bounds, shown)
            yield archive
    except (BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise CodeError(f"{shown} is not a zip file, or is damaged: {error}") from None
    except OSError as error:
        raise CodeError(f"{shown} cannot be unpacked: {error.filename or code}: {error.strerror}") from error


def _write(archive: ZipFile, member: ZipInfo, folder: Path, shown: str) -> None:
    """Write one member that is not a link. zipfile returns no more bytes than its header says."""
    target = folder / member.filename
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not is_link(member):
        with _of(member, shown), archive.open(member) as source, target.open("xb") as copied:
            shutil.copyfileobj(source, copied)
        target.chmod(0o755 if member.external_attr >> 16 & stat.S_IXUSR else 0o644)


def _link(archive: ZipFile, member: ZipInfo, folder: Path, shown: str) -> None:
    with _of(member, shown):
        target = os.fsdecode(archive.read(member))
        try:
            (folder / member.filename).symlink_to(target)
        except (FileExistsError, ValueError):
            raise CodeError(f"{shown}: the member {member.filename!r} is a link that cannot be made") from None


@contextmanager
def _of(member: ZipInfo, shown: str) -> Iterator[None]:
    """Name the member whose bytes are damaged. Errors of the disk have a number, those of bz2 have none."""
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = "it takes too much memory" if isinstance(error, MemoryError) else error
        raise CodeError(f"{shown}: the member {member.filename!r} cannot be unpacked: {what}") from None
