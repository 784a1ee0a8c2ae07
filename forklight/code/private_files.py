"""Files that may hold keys or passwords. They are left out of snapshots, which every function can read.

A `.forklightignore` can take each of them back in: `!tls/server.key` takes one back in.
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
"""Names of files with variables, keys or passwords. docs/configuration.md has the same list."""

_MOST_BYTES = 1024 * 1024
"""Four times the size of a bundle with the certificates of all authorities."""

_matches: Callable[[str, bool], bool] = ignored_by(PATTERNS)


def is_private(name: str, path: Path, *, is_folder: bool) -> bool:
    """Whether the file `name` (from the root of the code, with slashes) at `path` is private. Reads it if it is a .pem.

    A .pem with certificates and no key is public: libraries contain such files.
    """
    if not _matches(name, is_folder):
        return False
    return is_folder or path.suffix != ".pem" or not _holds_certificates_only(path)


def _holds_certificates_only(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError:
        return False
    return len(text) <= _MOST_BYTES and b"-----BEGIN CERTIFICATE-----" in text and b"PRIVATE KEY-----" not in text
