"""Code in a zip: unpacked into a folder of its own while it is read. Nothing is written outside that folder.

The names of members are not trusted: absolute names, `..`, and two members with one place are refused, not repaired.
Links are made last, so that nothing is written through one; where they lead is looked at like in any directory.
"""

import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from forklight.code.files import MOST_BYTES
from forklight.code.selection import CodeError
from forklight.state.directory import remove_tree

SUFFIX = ".zip"
_LONGEST_LINK = 4096
_ENCRYPTED = 0x1


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
        _unpack(code, folder)
        yield folder
    except CodeError as error:
        raise CodeError(str(error).replace(str(folder), str(code))) from None
    finally:
        remove_tree(folder)


def member_problem(name: str) -> str | None:
    """Return the problem of a member's name, or None. Pure."""
    parts = name.removesuffix("/").split("/")
    if name.startswith("/"):
        return "is absolute"
    if "\\" in name:
        return "is written with a backslash: make the zip with slashes"
    if ".." in parts:
        return "leads out of the zip"
    return "is not a file name" if "" in parts or "." in parts else None


def _unpack(code: Path, folder: Path) -> None:
    try:
        with ZipFile(code) as archive:
            members = _members(archive, code)
            for member in members:
                _write(archive, member, folder, code)
            for member in members:
                if _is_link(member):
                    _link(archive, member, folder, code)
    except BadZipFile as error:
        raise CodeError(f"{code} is not a zip file, or is damaged: {error}") from None
    except OSError as error:
        raise CodeError(f"{code} cannot be unpacked: {error.filename or code}: {error.strerror}") from error


def _members(archive: ZipFile, code: Path) -> list[ZipInfo]:
    """Return all members, after checking each of them."""
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        problem = member_problem(name)
        if problem is None and name.removesuffix("/") in seen:
            problem = "is there twice"
        if problem is None and member.flag_bits & _ENCRYPTED:
            problem = "is encrypted: make the zip without a password"
        if problem is None and _is_link(member) and member.file_size > _LONGEST_LINK:
            problem = "is a link that is too long"
        if problem is not None:
            raise CodeError(f"{code}: the member {name!r} {problem}")
        seen.add(name.removesuffix("/"))
    total_bytes = sum(member.file_size for member in archive.infolist())
    if total_bytes > MOST_BYTES:
        biggest = max(archive.infolist(), key=lambda member: member.file_size)
        raise CodeError(
            f"{code} holds {total_bytes / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f} MB; the biggest member is "
            f"{biggest.filename!r} ({biggest.file_size / 1e6:.0f} MB)"
        )
    return archive.infolist()


def _write(archive: ZipFile, member: ZipInfo, folder: Path, code: Path) -> None:
    """Write one member that is not a link. zipfile returns no more bytes than its header says."""
    target = folder / member.filename
    try:
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_link(member):
            with archive.open(member) as source, target.open("xb") as copied:
                shutil.copyfileobj(source, copied)
            target.chmod(0o755 if member.external_attr >> 16 & stat.S_IXUSR else 0o644)
    except (FileExistsError, NotADirectoryError):
        raise CodeError(f"{code}: the member {member.filename!r} is in the place of another") from None
    except (BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise CodeError(f"{code}: the member {member.filename!r} cannot be unpacked: {error}") from None


def _link(archive: ZipFile, member: ZipInfo, folder: Path, code: Path) -> None:
    try:
        (folder / member.filename).symlink_to(os.fsdecode(archive.read(member)))
    except (FileExistsError, ValueError, BadZipFile, zlib.error):
        raise CodeError(f"{code}: the member {member.filename!r} is a link that cannot be made") from None


def _is_link(member: ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)
