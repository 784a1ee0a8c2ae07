"""The file that one instance writes for all later ones: when it is read, and when there is another attempt."""

import os

from sandbox.guest._forklight.code_cache import MARK, CodeCache

MANY = 10


def file_of(cache: CodeCache) -> int:
    """The file of a new attempt."""
    offered = cache.next()
    assert offered is not None
    way, file = offered
    assert way == "write"
    assert os.fstat(file).st_size == 0
    return file


def test_what_one_instance_has_written_all_later_ones_read() -> None:
    cache = CodeCache()
    file = file_of(cache)
    os.write(file, MARK + b"compiled")

    assert [cache.next() for _ in range(MANY)] == [("read", file)] * MANY
    cache.forget()


def test_what_is_not_whole_nobody_reads_and_is_tried_a_few_times() -> None:
    cache = CodeCache()
    for _ in range(3):
        os.write(file_of(cache), MARK[:-1])

    assert [cache.next() for _ in range(MANY)] == [None] * MANY
    cache.forget()


def test_instances_that_start_at_once_write_files_of_their_own() -> None:
    cache = CodeCache()
    first = os.dup(file_of(cache))
    second = file_of(cache)
    os.write(first, MARK + b"late")

    assert os.fstat(second).st_size == 0
    os.write(second, MARK)
    assert cache.next() == ("read", second)
    os.close(first)
    cache.forget()


def test_what_is_spoilt_nobody_reads() -> None:
    cache = CodeCache()
    file = file_of(cache)
    os.write(file, MARK)
    os.ftruncate(file, 1 << 40)

    file = file_of(cache)
    os.write(file, MARK)
    assert cache.next() == ("read", file)
    cache.forget()


def test_what_was_forgotten_is_not_tried_again() -> None:
    cache = CodeCache()
    os.write(file_of(cache), MARK)
    assert cache.next() is not None
    cache.forget()

    assert [cache.next() for _ in range(MANY)] == [None] * MANY
