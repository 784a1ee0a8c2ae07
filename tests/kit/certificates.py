"""Certificates that sign themselves, for `localhost` and 127.0.0.1."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """Two files in PEM form."""

    certificate: Path
    key: Path


def make_pair(folder: Path, name: str = "server", host: str = "localhost", *, address: bool = True) -> Pair:
    """Replace `NAME.pem` and `NAME.key`."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    new = Pair(folder / f"{name}.pem.new", folder / f"{name}.key.new")
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"]
    line += ["-keyout", str(new.key), "-out", str(new.certificate), "-subj", f"/CN={host}"]
    line += ["-addext", f"subjectAltName=DNS:{host}{',IP:127.0.0.1' * address}"]
    subprocess.run(line, check=True, capture_output=True, timeout=50)
    for made, file in zip(new, pair, strict=True):
        made.rename(file)
    return pair
