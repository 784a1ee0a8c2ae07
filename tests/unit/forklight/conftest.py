"""A folder that the unprivileged user can reach too; pytest's own `tmp_path` is for its owner only."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from forklight.state.directory import remove_tree


@pytest.fixture
def open_path() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="forklight-test-"))
    path.chmod(0o755)
    yield path
    remove_tree(path)
