"""The packages of a server, in its state directory. Everything here blocks.

    packages/SHA256.zip             a package; its name says what is in it, and it never changes
    packages/incoming/SHA256.part   the first bytes of one that is being received
    unpacked/SHA256/                what a package holds, made again at need
    unpacked/SHA256.boot            the boot of the machine in which that was made

A package gets its name by a rename, after its bytes are on the disk and have been checked. So whatever ends the server,
and however full the disk is, a name stands for the whole package or for none. An unpacked folder is not worth a sync
of every file: after a power failure it may have holes, so one of an earlier boot is made again.

Parts and packages are locked with flock(2) while they change hands, so that two uploads of one package, by whichever
processes, write the same bytes or are told where to go on.
"""

import fcntl
import hashlib
import os
import re
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import ZipFile

from msgspec import Struct

from forklight.code import archive
from forklight.code.examine import Bounds
from forklight.code.selection import CodeError
from forklight.packages.errors import (
    DiskFull,
    MissingPackage,
    PackageError,
    PackageRefused,
    PackageTooLarge,
    StoreFailed,
    WrongBytes,
    WrongOffset,
)
from forklight.packages.room import check_room, is_full
from forklight.state.directory import is_at, make_state, remove_tree, sync_folder

GRACE_S = 3600.0
"""How long a package that nothing needs yet is kept: its deploy may be about to begin."""
PART_KEPT_S = 86400.0
"""How long the bytes of an upload that went no further are kept."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class StoreBounds(Struct, frozen=True, kw_only=True):
    """The most that one package may have."""

    package_bytes: int = 256 * 1024 * 1024
    unpacked_bytes: int = 1024 * 1024 * 1024


class PackageStore:
    """The packages in one state directory. Nothing is written before the first package arrives.

    Any thread may call it. Methods raise PackageError for a name that is not 64 small hexadecimal digits.
    """

    def __init__(self, state: Path, bounds: StoreBounds | None = None) -> None:
        self.bounds = bounds or StoreBounds()
        self.packages = state / "packages"
        self.incoming = self.packages / "incoming"
        self.folders = state / "unpacked"
        self._unpacking = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Return where the package is, or would be."""
        if not _SHA256.fullmatch(sha256):
            raise PackageError(f"{sha256[:80]!r} is not the name of a package: that has 64 digits from 0-9 and a-f")
        return self.packages / f"{sha256}.zip"

    def has(self, sha256: str) -> bool:
        """Return whether the package is here. If so it stays for another hour, even if nothing needs it yet."""
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failed(error) from error
        return True

    def received(self, sha256: str) -> int:
        """Return how many bytes of an upload are here."""
        with _failures():
            try:
                return self._part(sha256).stat().st_size
            except FileNotFoundError:
                return 0

    def expect(self, sha256: str, size_bytes: int) -> None:
        """Refuse a package of this size if the rest of it does not fit on the disk, and keep nothing of it then.

        Raises DiskFull.
        """
        with _failures(), self._dropped_if_full(sha256):
            check_room(self.incoming, size_bytes - self.received(sha256), f"the package {sha256[:12]}")

    def append(self, sha256: str, offset: int, chunk: bytes | bytearray | memoryview) -> int:
        """Add the bytes from `offset` on, and return how many are here now: all of them, or none if it raises.

        Raises WrongOffset, PackageTooLarge and StoreFailed; DiskFull after it has dropped what was here.
        """
        with self._locked_part(sha256, create=True) as part, self._dropped_if_full(sha256):
            received = os.fstat(part).st_size
            if offset != received:
                raise WrongOffset(sha256, received)
            if received + len(chunk) > self.bounds.package_bytes:
                self._part(sha256).unlink()
                most = self.bounds.package_bytes / 1e6
                raise PackageTooLarge(f"the package {sha256[:12]} has more than {most:.0f} MB, which is the limit here")
            try:
                _write_all(part, chunk, offset)
            except OSError:
                os.ftruncate(part, received)
                raise
            return received + len(chunk)

    def forget(self, sha256: str) -> None:
        """Drop what was received of an upload, to begin again."""
        with _failures():
            self._part(sha256).unlink(missing_ok=True)

    def finish(self, sha256: str) -> Path:
        """Check what was received, make it a package, and return its path. That of one which is here already, too.

        Raises PackageRefused if it is not what its name says, or may not be unpacked, and DiskFull if there is no room
        for what it holds: its bytes are gone then. Raises MissingPackage if nothing was received.
        """
        final = self.path(sha256)
        if final.exists():
            self.forget(sha256)
            return final
        with self._locked_part(sha256, create=False) as part, self._dropped_if_full(sha256):
            try:
                unpacked_bytes = self._check(part, sha256)
            except PackageRefused:
                self._part(sha256).unlink()
                raise
            check_room(self.folders, unpacked_bytes, f"what the package {sha256[:12]} holds")
            os.fsync(part)
            self._part(sha256).rename(final)
            sync_folder(self.packages)
        return final

    def unpacked(self, sha256: str) -> Path:
        """Return the folder with what the package holds; make it if need be. Raises PackageError."""
        package, final, mark = self.path(sha256), self.folders / sha256, self.folders / f"{sha256}.boot"
        if not package.exists():
            raise MissingPackage(f"the package {sha256[:12]} is not here: deploy it again")
        boot = _boot()
        with _failures(), self._unpacking:
            if not (final.is_dir() and mark.is_file() and mark.read_text() == boot):
                self.folders.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._unpack(package, final)
                mark.write_text(boot)
        return final

    def _unpack(self, package: Path, final: Path) -> None:
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folders))
        try:
            with _refusals():
                archive.unpack(package, new, self._bounds(is_package=True), f"the package {package.stem[:12]}")
            remove_tree(final)
            new.rename(final)
        finally:
            remove_tree(new)

    def discard(self, sha256: str) -> None:
        """Remove a package, and what was unpacked of it, that nothing needs."""
        with _failures(), self._unpacking:
            self.path(sha256).unlink(missing_ok=True)
            (self.folders / f"{sha256}.boot").unlink(missing_ok=True)
            remove_tree(self.folders / sha256)

    def remove_unused(self, keep: Set[str], grace_s: float = GRACE_S) -> int:
        """Remove what is not needed for the packages `keep`, and return how many bytes of packages that were.

        Packages stay that were received, or asked for (`has`), in the last `grace_s`; so do parts for a day.
        """
        now, removed = time.time(), 0
        with _failures():
            for package in self.packages.glob("*.zip"):
                with suppress(FileNotFoundError):
                    found = package.stat()
                    if package.stem not in keep and found.st_mtime <= now - grace_s:
                        package.unlink()
                        removed += found.st_size
            for part in self.incoming.glob("*.part"):
                with suppress(FileNotFoundError):  # it has just become a package
                    if part.stat().st_mtime < now - PART_KEPT_S:
                        part.unlink()
            entries = [one for one in self.folders.glob("*") if self._is_left_over(one, now - grace_s)]
            for entry in sorted(entries, key=Path.is_dir):  # first marks: they say that a folder is whole
                remove_tree(entry) if entry.is_dir() else entry.unlink()
        return removed

    def check(self) -> list[str]:
        """Return what is wrong in the store, with what to do. Reads every package."""
        problems: list[str] = []
        with _failures():
            for package in sorted(self.packages.glob("*.zip")):
                with suppress(FileNotFoundError):  # removed meanwhile
                    problems += self._problems(package)
        return problems

    def _problems(self, package: Path) -> Iterator[str]:
        sha256 = package.stem
        if not _SHA256.fullmatch(sha256):
            yield f"{package} is not a package: remove it"
            return
        with package.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                yield f"{package} is damaged: remove it, and deploy or pull it again"
                return
        folder = self.folders / sha256
        if folder.is_dir():
            with ZipFile(package) as content:
                wrong = sorted(
                    one.filename for one in content.infolist() if not _is_there(folder / one.filename, one.CRC)
                )
            if wrong:
                yield f"{folder} differs from its package in {wrong[0]}: remove the folder, it will be made again"

    def _is_left_over(self, entry: Path, before: float) -> bool:
        sha256 = entry.name.removesuffix(".boot")
        if _SHA256.fullmatch(sha256):
            return not self.path(sha256).exists()
        with suppress(FileNotFoundError):
            return entry.stat().st_mtime <= before
        return False

    @contextmanager
    def _dropped_if_full(self, sha256: str) -> Iterator[None]:
        """Keep no part of a package for which the disk has no room."""
        try:
            yield
        except (OSError, DiskFull) as error:
            if is_full(error):
                self._part(sha256).unlink(missing_ok=True)
            raise

    def _check(self, part: int, sha256: str) -> int:
        """Return how many bytes it holds, unpacked. Raises PackageRefused."""
        with open(part, "rb", closefd=False) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise WrongBytes(sha256, found)
        with _refusals(), archive.checked(self._part(sha256), self._bounds(), f"the package {sha256[:12]}") as content:
            return sum(member.file_size for member in content.infolist())

    def _bounds(self, *, is_package: bool = False) -> Bounds:
        return Bounds(unpacked_bytes=self.bounds.unpacked_bytes, is_package=is_package)

    def _part(self, sha256: str) -> Path:
        return self.incoming / f"{self.path(sha256).stem}.part"

    @contextmanager
    def _locked_part(self, sha256: str, *, create: bool) -> Iterator[int]:
        """Yield the descriptor of the part, locked, and still the one at its path."""
        path = self._part(sha256)
        with _failures():
            if create:
                make_state(self.packages.parent)
                self.packages.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.incoming.mkdir(mode=0o700, exist_ok=True)
            while True:
                try:
                    part = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT * create, 0o600)
                except FileNotFoundError:
                    raise MissingPackage(f"of the package {sha256[:12]}, nothing has been received") from None
                try:
                    fcntl.flock(part, fcntl.LOCK_EX)
                    if is_at(part, path):
                        yield part
                        return
                finally:
                    os.close(part)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"


def _is_there(path: Path, crc: int) -> bool:
    found = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                found = zlib.crc32(chunk, found)
    except IsADirectoryError:
        return True
    except OSError:
        return False
    return found == crc


def _write_all(descriptor: int, chunk: bytes | bytearray | memoryview, offset: int) -> None:
    rest = memoryview(chunk)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failed(error) from error


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except CodeError as error:
        if isinstance(error.__cause__, OSError):  # the disk's fault
            raise _failed(error.__cause__) from error
        raise PackageRefused(str(error)) from error


def _failed(error: OSError) -> StoreFailed:
    place = f"{error.filename}: " if error.filename else ""
    advice = "free some room, then do it again" if is_full(error) else "let the user of the server read and write it"
    kind = DiskFull if is_full(error) else StoreFailed
    return kind(f"the store of packages cannot be used: {place}{error.strerror}: {advice}")
