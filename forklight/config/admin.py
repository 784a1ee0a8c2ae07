"""`[admin]`: the TCP listener for probes, metrics and deploy keys, and its certificate."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from forklight.config.document import Node
from forklight.config.problem import Problem
from triggers.http import ListenError
from triggers.http.socket.bind import parse_listen

if TYPE_CHECKING:
    from ssl import SSLContext


class Listen(str):
    """`host:port`."""

    __slots__ = ()
    example: ClassVar[str] = "127.0.0.1:9090"

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Raises ValueError."""
        try:
            parse_listen(text)
        except ListenError as error:
            raise ValueError(str(error)) from None
        return cls(text)


class AdminSettings(Struct, frozen=True, kw_only=True):
    """`[admin]`."""

    listen: Listen | None = None
    """The address where health, readiness and metrics are also served over TCP, and deploys with a deploy key:
    `"127.0.0.1:9090"`."""
    certificate: Path | None = None
    """A certificate in PEM form, followed by those between it and the root: the listener then speaks TLS. A file that
    is replaced is read again. Default: plain HTTP, over which only clients on the machine itself can deploy."""
    key: Path | None = None
    """The private key of `certificate`, in PEM form and without a passphrase."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: write both, or neither")
        if self.certificate is not None and self.listen is None:
            raise ValueError('a certificate needs an address to listen on: write listen = "0.0.0.0:9090"')


def admin_problems(settings: AdminSettings, root: Node) -> Iterator[Problem]:
    """Yield why the certificate and its key cannot be used."""
    if settings.certificate is None or settings.key is None:
        return
    try:
        tls_context(settings.certificate, settings.key)
    except TlsError as error:
        yield root.at("admin").at(error.place).problem(str(error))


class TlsError(ValueError):
    """The certificate or its key cannot be used; `place` says which: the name of the setting."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


def tls_context(certificate: Path, key: Path) -> "SSLContext":
    """Return what a TLS listener needs. Raises TlsError. Blocks."""
    import ssl  # late: few servers and no other command need it

    for place, file in (("certificate", certificate), ("key", key)):
        try:
            text = file.read_bytes()
        except OSError as error:
            raise TlsError(place, f"cannot be read: {file}: {error.strerror}") from None
        if b"-----BEGIN " not in text:
            raise TlsError(place, f"{file} is not in PEM form: it has no line -----BEGIN …-----")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError("key", f"{key} is not the key of {certificate}: name the one made with it") from None
        why = error.reason or "it has a passphrase, which nobody could enter"
        raise TlsError("certificate", f"{certificate} and {key} cannot be used: {why}") from None
    return context
