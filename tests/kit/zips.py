"""Zips as a tool would make them, or as no tool would."""

import io
from hashlib import sha256
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from forklight.packages.store import PackageStore


def make_zip(*members: tuple[str, bytes] | tuple[str, bytes, int], method: int = ZIP_DEFLATED) -> bytes:
    """A zip of (name, content, mode), whatever the names are."""
    made = io.BytesIO()
    with ZipFile(made, "w") as archive:
        for name, content, *mode in members:
            member = ZipInfo("placeholder")
            member.filename = member.orig_filename = name
            member.external_attr = (mode[0] if mode else 0o644) << 16
            archive.writestr(member, content, method)
    return made.getvalue()


def name_of(content: bytes) -> str:
    """The name of the package with this content."""
    return sha256(content).hexdigest()


def put(store: PackageStore, content: bytes) -> str:
    """Have the store take a package; its name."""
    store.append(name_of(content), 0, content)
    store.finish(name_of(content))
    return name_of(content)
