"""A start is refused if too few descriptors are free; there is a place for many from the start."""

import re
import resource
from pathlib import Path

import pytest

from sandbox.errors import StartFailed
from sandbox.launch import SPARE_DESCRIPTORS, TABLE_SIZE, require_descriptors, seal_descriptors
from tests.kit.frames import open_fds


def test_a_start_that_would_run_out_of_descriptors_is_put_off() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require_descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(open_fds()) + SPARE_DESCRIPTORS - 2, hard))
    try:
        with pytest.raises(StartFailed, match="raise its limit"):
            require_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_table_of_descriptors_need_not_grow_while_the_server_works() -> None:
    before = open_fds()
    seal_descriptors()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    size = re.search(r"^FDSize:\s+(\d+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert size is not None
    assert int(size[1]) >= min(hard, TABLE_SIZE)
    assert open_fds() == before
