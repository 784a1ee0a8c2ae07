"""What Forklight is compared with, in an environment of their own: made once, with pinned versions, and kept."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.heavy import cache_folder
from benchmarks.http_servers import Server, ServerError

FOLDER = Path(__file__).with_name("peers")
RAW_ASGI = "raw ASGI, uvicorn"
FASTAPI = "FastAPI, uvicorn x2"
GUNICORN = "FastAPI, gunicorn x2"
FRAMEWORK = "functions-framework"
_REQUIREMENTS = FOLDER / "requirements.txt"
_WORKER = "uvicorn_worker.UvicornWorker"
_UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


def environment(requirements: Path = _REQUIREMENTS) -> Path:
    """Its `bin` folder; the first time this downloads the peers. Raises ServerError if pip cannot."""
    pinned = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder = cache_folder() / f"peers-python{sys.version_info.major}.{sys.version_info.minor}-{pinned}"
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        python = folder / "bin" / "python"
        try:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True, timeout=300)
        except subprocess.SubprocessError as error:
            raise ServerError(f"the peers in {requirements} could not be installed: {error}") from error
        ready.touch()
    return folder / "bin"


def peers(programs: Path) -> list[Server]:
    """Each as its documentation starts it for production, without access logs."""
    host = ("--host", "127.0.0.1", "--port", "{port}")
    uvicorn = (str(programs / "uvicorn"), "--app-dir", str(FOLDER), *host, *_UVICORN)
    gunicorn = (str(programs / "gunicorn"), "--chdir", str(FOLDER), "--workers", "2", "--worker-class", _WORKER)
    framework = (str(programs / "functions-framework"), "--target", "handler", "--source", str(FOLDER / "framework.py"))
    return [
        Server(RAW_ASGI, (*uvicorn, "raw_asgi:app")),
        Server(FASTAPI, (*uvicorn, "--workers", "2", "fastapi_app:app")),
        Server(GUNICORN, (*gunicorn, "--bind", "127.0.0.1:{port}", "fastapi_app:app")),
        Server(FRAMEWORK, (*framework, *host)),
    ]
