"""`$FORKLIGHT_DATA` of handlers that run in the process of the test."""

import atexit
import os
import shutil
import tempfile

from forklight.config.environment import DATA

_CURRENT_TEST = "PYTEST_CURRENT_TEST"
"""pytest sets it to `tests/test_shop.py::test_orders (call)`. Other test runners have one folder for all tests."""

_folders: dict[str, str] = {}
"""By test. They are removed when the process ends: a module may have kept the path of the one it was imported in."""


def offer_data_folder() -> None:
    """Set the variable to an empty folder of the current test, unless the test has set it itself.

    It stays set: then the test can look into the folder, and calls that run at the same time share it.
    """
    before = os.environ.get(DATA)
    if before is None or is_offered(before):
        os.environ[DATA] = _folder_of_test()


def is_offered(folder: str) -> bool:
    """Return whether the folder is ours, not one that the test has chosen."""
    return folder in _folders.values()


def _folder_of_test() -> str:
    test = os.environ.get(_CURRENT_TEST, "").rpartition(" ")[0]
    if test not in _folders:
        _folders[test] = tempfile.mkdtemp(prefix="forklight-test-data-")
        atexit.register(shutil.rmtree, _folders[test], ignore_errors=True)
    return _folders[test]
