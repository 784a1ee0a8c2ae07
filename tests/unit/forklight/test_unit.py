"""The systemd units: what stands in them, and that systemd takes them."""

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from forklight.commands.unit_files import Unit, service_unit, socket_unit

UNIT = Unit(
    name="shop",
    user="shopkeeper",
    command=(sys.executable, "-m", "forklight", "serve", "/srv/a shop/100%$/forklight.toml"),
    reload=(sys.executable, "-m", "forklight", "reload", "-c", "/srv/a shop/100%$/forklight.toml"),
    reads=(Path("/srv/a shop/100%$/forklight.toml"), Path("/opt/forklight")),
    listen="127.0.0.1:8080",
    drain_s=12.5,
)


def settings(text: str) -> dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in lines}


def test_what_a_service_says() -> None:
    said = settings(service_unit(UNIT))
    assert said["ExecStart"] == f'{sys.executable} -m forklight serve "/srv/a shop/100%%$$/forklight.toml"'
    assert said["ExecReload"] == f'{sys.executable} -m forklight reload -c "/srv/a shop/100%%$$/forklight.toml"'
    expected = {
        "Type": "notify",
        "User": "shopkeeper",
        "StateDirectory": "shop",
        "RuntimeDirectory": "shop",
        "KillMode": "mixed",
        "TimeoutStopSec": "35",
        "OOMPolicy": "continue",
        "OOMScoreAdjust": "-500",
        "ManagedOOMPreference": "avoid",
        "StartLimitIntervalSec": "0",
        "TimeoutStartSec": "90",
        "After": "network-online.target",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "Delegate": "yes",
    }
    assert expected.items() <= said.items()
    # What boxes and compiling libraries need must not be taken from them, nor the sight of functions from the server.
    taken = {"RestrictNamespaces", "MemoryDenyWriteExecute", "SystemCallFilter", "ProcSubset", "ProtectProc"}
    # These lay mounts over parts of /proc or make control groups read-only.
    taken |= {"ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups", "PrivateUsers", "ReadWritePaths"}
    assert not taken & said.keys()


def test_what_functions_write_is_writable() -> None:
    writes = (Path("/srv/a b/100%"), Path("/home/a/spool"))
    said = settings(service_unit(replace(UNIT, writes=writes)))
    assert (said["ReadWritePaths"], said["ProtectHome"]) == ('"/srv/a b/100%%" /home/a/spool', "read-only")


@pytest.mark.parametrize(
    ("folder", "home", "tmp"),
    [("/home/a/app", "read-only", "yes"), ("/root/app", "read-only", "yes"), ("/tmp/app", "yes", "no")],
)
def test_what_the_server_must_see_is_not_hidden(folder: str, home: str, tmp: str) -> None:
    said = settings(service_unit(replace(UNIT, reads=(*UNIT.reads, Path(folder)))))
    assert (said["ProtectHome"], said["PrivateTmp"]) == (home, tmp)


def test_a_start_may_wait_for_a_broker() -> None:
    said = settings(service_unit(replace(UNIT, wait_s=300.0, brokers=("mq.example", "localhost"))))
    assert said["TimeoutStartSec"] == "390"
    assert said["After"] == said["Wants"] == "network-online.target rabbitmq-server.service"
    assert "rabbitmq" not in service_unit(replace(UNIT, wait_s=300.0, brokers=("mq.example",)))


def test_what_a_socket_says() -> None:
    said = settings(socket_unit(UNIT))
    assert (said["ListenStream"], "SocketMode" in said) == ("127.0.0.1:8080", False)
    said = settings(socket_unit(replace(UNIT, listen="unix:/run/100%.sock")))
    assert (said["ListenStream"], said["SocketMode"], said["SocketUser"]) == ("/run/100%%.sock", "0660", "shopkeeper")


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "[::1]:80", "unix:/run/shop.sock"])
def test_systemd_takes_them(tmp_path: Path, listen: str) -> None:
    unit = replace(UNIT, listen=listen, wait_s=300.0, brokers=("localhost",), writes=(Path("/srv/a b/%$"),))
    (tmp_path / "shop.service").write_text(service_unit(unit))
    (tmp_path / "shop.socket").write_text(socket_unit(unit))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "shop.service", "shop.socket"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "shop.service").write_text(service_unit(unit).replace("PrivateTmp", "PrivateTemp"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert "PrivateTemp" in done.stderr
