"""Files in memory that are sealed, and never filled in."""

import errno
import mmap
import os
from collections.abc import Iterator

import pytest

from sandbox.guest._forklight import memory_file

MOST_BYTES = 1 << 20


@pytest.fixture
def file() -> Iterator[int]:
    fd = memory_file.make("test")
    yield fd
    os.close(fd)


def test_what_is_sealed_can_be_read_and_not_be_changed(file: int) -> None:
    os.write(file, b"whole")
    mapped = memory_file.seal(file, MOST_BYTES)

    assert mapped[:] == b"whole"
    for change in (lambda: os.pwrite(file, b"x", 0), lambda: os.ftruncate(file, 0), lambda: os.ftruncate(file, 9999)):
        with pytest.raises(PermissionError):
            change()


def test_a_file_with_holes_is_not_filled_in(file: int) -> None:
    os.pwrite(file, b"mark", 0)
    os.ftruncate(file, MOST_BYTES)
    before = os.fstat(file).st_blocks

    with pytest.raises(ValueError, match="it has holes"):
        memory_file.seal(file, MOST_BYTES)
    assert os.fstat(file).st_blocks == before


def test_a_file_that_is_too_large_is_not_mapped(file: int) -> None:
    os.ftruncate(file, 3 * MOST_BYTES)
    with pytest.raises(ValueError, match="it takes 3 MiB, and 1 MiB are allowed"):
        memory_file.seal(file, MOST_BYTES)


def test_a_file_that_somebody_can_still_change_is_refused(file: int) -> None:
    os.write(file, b"whole")
    with mmap.mmap(file, 0), pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        memory_file.seal(file, MOST_BYTES)
