"""`$FORKLIGHT_DATA` of handlers that run in the process of the test."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forklight.config.environment import DATA

_CURRENT_TEST = "PYTEST_CURRENT_TEST"
"""pytest sets it to `tests/test_shop.py::test_orders (call)`. Other test runners have one folder for all tests."""

_folders: dict[str, str] = {}
"""By test. They are removed when the process ends: a module may have kept the path of the one it was imported in."""


@contextmanager
def data_folder(given: str | Path | None) -> Iterator[None]:
    """Set the variable to the folder `given` for the block.

    With None it stays as the test has set it, and otherwise becomes an empty folder of the current test, also after
    the block: then the test can look into it, and calls that run at the same time share it.
    """
    before = os.environ.get(DATA)
    if given is None:
        if before is None or before in _folders.values():
            os.environ[DATA] = _folder_of_test()
        yield
        return
    os.environ[DATA] = str(Path(given).absolute())
    try:
        yield
    finally:
        os.environ.pop(DATA)
        if before is not None:
            os.environ[DATA] = before


def _folder_of_test() -> str:
    test = os.environ.get(_CURRENT_TEST, "").rpartition(" ")[0]
    if test not in _folders:
        _folders[test] = tempfile.mkdtemp(prefix="forklight-test-data-")
        atexit.register(shutil.rmtree, _folders[test], ignore_errors=True)
    return _folders[test]
