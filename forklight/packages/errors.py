"""What goes wrong with packages. The message says which, why, and what to do."""

from forklight.errors import ForklightError


class PackageError(ForklightError):
    """A package cannot be made, taken or read."""


class MissingPackage(PackageError):
    """The store does not have it."""


class WrongOffset(PackageError):
    """A piece of an upload begins elsewhere than after the `received` bytes that are there."""

    def __init__(self, sha256: str, received: int) -> None:
        super().__init__(f"of the package {sha256[:12]}, {received} bytes are here: go on from there")
        self.received = received


class PackageTooLarge(PackageError):
    """It has more bytes than the store takes."""


class PackageRefused(PackageError):
    """Its bytes are not those of its name, or what they hold may not be unpacked."""


class WrongBytes(PackageRefused):
    """Its bytes have the SHA-256 `found`, which is not its name."""

    def __init__(self, sha256: str, found: str) -> None:
        super().__init__(f"the bytes received have the SHA-256 {found}, not {sha256}: send them again")
        self.found = found


class PullFailed(PackageError):
    """A source did not give it."""


class StoreFailed(PackageError):
    """The disk is full, or the store cannot be read or written."""


class DiskFull(StoreFailed):
    """There is no room for it."""
