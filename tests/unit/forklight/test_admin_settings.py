"""`[admin]`: what of a certificate cannot be used, each in its place. And who is on the machine itself."""

import subprocess
from pathlib import Path

import pytest

from forklight.admin.guard import is_loopback, names_an_address
from forklight.config.configuration import load
from forklight.config.problem import ConfigError
from tests.kit.certificates import make_pair

TOML = '[functions.f]\nhandler = "f:h"\n[admin]\n'
BOTH = 'listen = "127.0.0.1:0"\ncertificate = "server.pem"\nkey = "server.key"\n'


def problem(folder: Path, admin: str) -> str:
    (folder / "forklight.toml").write_text(TOML + admin)
    with pytest.raises(ConfigError) as caught:
        load(folder, {})
    [found] = caught.value.problems
    return str(found).replace(f"{folder}/", "")


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    (tmp_path / "forklight.toml").write_text(TOML + BOTH)
    config = load(tmp_path, {})
    assert {pair.certificate, pair.key} <= config.no_code
    assert problem(tmp_path, BOTH.replace("server.pem", "sever.pem")) == (
        "forklight.toml:5 admin.certificate: cannot be read: sever.pem: No such file or directory"
    )
    assert problem(tmp_path, BOTH.replace("server.key", "forklight.toml")) == (
        "forklight.toml:6 admin.key: forklight.toml is not in PEM form: it has no line -----BEGIN …-----"
    )
    make_pair(tmp_path, "other")
    assert problem(tmp_path, BOTH.replace("server.key", "other.key")) == (
        "forklight.toml:6 admin.key: other.key is not the key of server.pem: name the one made with it"
    )
    line = [
        "openssl",
        "ec",
        "-aes128",
        "-passout",
        "pass:1234",
        "-in",
        str(pair.key),
        "-out",
        str(tmp_path / "locked.key"),
    ]
    subprocess.run(line, check=True, capture_output=True, timeout=50)
    assert problem(tmp_path, BOTH.replace("server.key", "locked.key")).startswith(
        "forklight.toml:5 admin.certificate: server.pem and locked.key cannot be used: "
    )


@pytest.mark.parametrize(
    ("admin", "said"),
    [
        ('listen = "127.0.0.1:0"\ncertificate = "a"', "certificate and key go together: write both, or neither"),
        (
            'certificate = "a"\nkey = "b"',
            'a certificate needs an address to listen on: write listen = "0.0.0.0:9090"',
        ),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, admin: str, said: str) -> None:
    assert problem(tmp_path, admin) == f"forklight.toml:3 admin: {said}"


def test_who_is_on_the_machine_itself() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("", "10.0.0.1", "::", "0.0.0.0", "::ffff:10.0.0.1", "fe80::1%eth0", "localhost")))


def test_which_hosts_no_page_can_have() -> None:
    assert all(map(names_an_address, ("127.0.0.1", "10.0.0.1:9090", "[::1]", "[::1]:9090", "localhost:1", "localhost")))
    assert not any(map(names_an_address, ("rebound.example", "localhost.example:80", "1.2.3.4.example", "a")))
