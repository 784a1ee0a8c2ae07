"""Files beside the code that are meant for one reader: they stay out of snapshots, which every function can read.

A `.forklightignore` decides otherwise for each: `!tls/server.key` takes one back in.
"""

from collections.abc import Callable
from pathlib import Path

from forklight.code.ignore import ignored_by

PATTERNS = """\
.env
.env.*
.envrc
*.pem
*.key
*.p12
*.pfx
*.jks
*.keystore
*.kdbx
*.ppk
id_rsa
id_dsa
id_ecdsa
id_ed25519
.netrc
.pypirc
.pgpass
.git-credentials
.htpasswd
.aws/
.gnupg/
.kube/
.ssh/
"""
"""Of environments, keys and passwords; docs/configuration.md has the same list."""

_MOST_BYTES = 1024 * 1024
"""A bundle of the certificates of all authorities has a quarter of this."""

_matches: Callable[[str, bool], bool] = ignored_by(PATTERNS)


def is_private(name: str, path: Path, *, is_folder: bool) -> bool:
    """Whether the file `name` (from the root of the code, with slashes) at `path` is one. Reads it if it is a .pem.

    One that holds certificates and no key is public: libraries bring such files along.
    """
    if not _matches(name, is_folder):
        return False
    return is_folder or path.suffix != ".pem" or not _holds_certificates_only(path)


def _holds_certificates_only(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError:
        return False
    return len(text) <= _MOST_BYTES and b"-----BEGIN CERTIFICATE-----" in text and b"PRIVATE KEY-----" not in text
