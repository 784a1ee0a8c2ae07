"""What a zip may hold, judged by its directory before a byte of it is unpacked.

Nothing is repaired: a name that leads out, a device file or a bomb makes the whole zip one that is refused, with the
name of the member. Every rule is a fact about honest zips, so that none that a usual tool makes is refused by mistake.
"""

import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from msgspec import Struct

from forklight.code.files import MOST_BYTES
from forklight.code.selection import CodeError

MOST_MEMBERS = 100_000
LONGEST_NAME_BYTES = 1024
LONGEST_PART_BYTES = 255
"""NAME_MAX of Linux."""
MOST_PARTS = 100
"""The deepest honest trees, of node_modules, have about thirty folders in folders; a walk through a thousand fails."""

_LONGEST_LINK_BYTES = 4096
_ENCRYPTED = 0x1
_DIRECTORY_ENTRY = b"PK\x01\x02"
_CHUNK_BYTES = 1 << 20
_MOST_OF_DEFLATE = 1032
"""Deflate makes no more than this of one byte: two bits for 258 bytes (zlib.net/zlib_tech.html)."""
_SLACK_BYTES = 4096
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the direction of writing, so that a name reads as another one."""
_TYPES = {
    stat.S_IFCHR: "is a device file",
    stat.S_IFBLK: "is a device file",
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
}


class Bounds(Struct, frozen=True, kw_only=True):
    """How much a zip may hold."""

    unpacked_bytes: int = MOST_BYTES
    members: int = MOST_MEMBERS
    is_package: bool = False
    """It holds files only, stored or deflated, as `forklight deploy` makes it."""


CODE = Bounds()


def refuse_too_many(path: Path, bounds: Bounds, shown: str) -> None:
    """Raise CodeError if the zip at `path` has too many members. Before it is parsed, which costs memory for each."""
    found, end = 0, b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found += (end + chunk).count(_DIRECTORY_ENTRY)
            end = chunk[-len(_DIRECTORY_ENTRY) + 1 :]
    if found > bounds.members:
        raise CodeError(f"{shown} has more than {bounds.members} members: leave out what the code does not need")


def examine(archive: ZipFile, size_bytes: int, bounds: Bounds, shown: str) -> None:
    """Raise CodeError, naming the member, unless everything in the zip of `size_bytes` may be unpacked."""
    members = archive.infolist()
    _refuse_names(members, shown)
    for member in members:
        problem = next(_problems(member, bounds), None)
        if problem is not None:
            raise CodeError(f"{shown}: the member {member.filename!r} {problem}")
    _refuse_sizes(members, size_bytes, bounds, shown)


def name_problem(name: str) -> str | None:
    """Return the problem of a member's name, or None. Pure."""
    parts = name.removesuffix("/").split("/")
    if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in _TURNS for one in name):
        return "has a control character in its name"
    if name.startswith("/"):
        return "is absolute"
    if "\\" in name:
        return "is written with a backslash: make the zip with slashes"
    if ".." in parts:
        return "leads out of the zip"
    if "" in parts or "." in parts:
        return "is not a file name"
    if len(parts) > MOST_PARTS:
        return f"lies in more than {MOST_PARTS - 1} folders"
    is_long = len(name.encode()) > LONGEST_NAME_BYTES or any(len(one.encode()) > LONGEST_PART_BYTES for one in parts)
    limit = f"{LONGEST_NAME_BYTES} bytes, or {LONGEST_PART_BYTES} between two slashes"
    return f"has a name that is too long: at most {limit}" if is_long else None


def is_link(member: ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _refuse_names(members: Iterable[ZipInfo], shown: str) -> None:
    seen: dict[str, bool] = {}
    for member in members:
        name = member.orig_filename  # `filename` ends at a zero byte
        if (problem := name_problem(name)) is None and name.removesuffix("/") in seen:
            problem = "is there twice"
        if problem is not None:
            raise CodeError(f"{shown}: the member {name!r} {problem}")
        seen[name.removesuffix("/")] = member.is_dir()
    for name in seen:
        parts = name.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        if (other := next((one for one in above if seen.get(one) is False), None)) is not None:
            raise CodeError(f"{shown}: the member {name!r} lies in {other!r}, which is not a folder")


def _problems(member: ZipInfo, bounds: Bounds) -> Iterator[str]:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind in _TYPES:
        yield _TYPES[kind]
    if member.flag_bits & _ENCRYPTED:
        yield "is encrypted: make the zip without a password"
    if is_link(member):
        if bounds.is_package:
            yield "is a link, and a package has none: forklight deploy packs what a link leads to"
        if member.file_size > _LONGEST_LINK_BYTES:
            yield "is a link that is too long"
    if bounds.is_package and member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        yield "is neither stored nor deflated: make the package with forklight deploy"
    if member.compress_type == ZIP_STORED and member.file_size != member.compress_size:
        yield "has two sizes: the zip is damaged"
    if member.compress_type == ZIP_DEFLATED and member.file_size > member.compress_size * _MOST_OF_DEFLATE:
        yield f"says that {member.compress_size} bytes unpack to {member.file_size}, which no zip can"


def _refuse_sizes(members: list[ZipInfo], size_bytes: int, bounds: Bounds, shown: str) -> None:
    if sum(member.compress_size for member in members) > size_bytes + _SLACK_BYTES:
        raise CodeError(f"{shown} is a bomb: its members share their bytes")
    total_bytes = sum(member.file_size for member in members)
    if total_bytes > bounds.unpacked_bytes:
        biggest = max(members, key=lambda member: member.file_size)
        raise CodeError(
            f"{shown} holds {total_bytes / 1e6:.0f} MB, more than {bounds.unpacked_bytes / 1e6:.0f} MB; the biggest "
            f"member is {biggest.filename!r} ({biggest.file_size / 1e6:.0f} MB)"
        )
