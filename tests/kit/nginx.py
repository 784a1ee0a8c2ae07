"""An nginx of a test's own, with one site, in a folder that is gone afterwards."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.broker import OWN_ONLY

START_LIMIT_S = 40.0
MISSING = "no nginx for the tests: install Debian's package: apt-get install nginx"
_CONFIGURATION = """
pid {folder}/pid;
daemon off;
master_process off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site;
}}
"""


@contextlib.contextmanager
def running_nginx(site: str, port: int) -> Iterator[None]:
    """From its readiness on. `site` listens on 127.0.0.1:`port`. Fails the test if `nginx -t` finds a mistake in it."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.fail(MISSING, pytrace=False)
    with tempfile.TemporaryDirectory(prefix="fl-nginx-") as name:
        (Path(name) / "site").write_text(site)
        (Path(name) / "nginx.conf").write_text(_CONFIGURATION.format(folder=name))
        command = (program, "-e", "stderr", "-p", name, "-c", f"{name}/nginx.conf")
        checked = subprocess.run((*command, "-t"), capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
        assert checked.returncode == 0, checked.stderr
        process = subprocess.Popen((*OWN_ONLY, *command), stdin=subprocess.DEVNULL)
        try:
            _wait_ready(process, port)
            yield
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def _wait_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.02)
    pytest.fail("the tests' nginx does not start: its output is above", pytrace=False)
