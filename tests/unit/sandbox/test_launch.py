"""A start is refused if too few descriptors are free."""

import resource

import pytest

from sandbox.errors import StartFailed
from sandbox.launch import SPARE_DESCRIPTORS, require_descriptors
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
