"""The descriptors of one guest: its stack file cannot grow, and all our ends are closed with it."""

import fcntl
import mmap
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.channels import Channels
from sandbox.guest._forklight import wire
from sandbox.guest._forklight.wire import MEMORY_BYTES, SHARED_BYTES, STACK_AT, STACK_BYTES, TASKS_AT
from tests.kit.frames import open_fds

pytestmark = pytest.mark.ordinary_user


@pytest.fixture
def channels() -> Iterator[Channels]:
    made = Channels(socket.SOCK_STREAM)
    yield made
    made.close()
    os.close(made.log)


def test_a_shared_body_is_seen_by_the_guest_and_replaced_by_the_next(channels: Channels) -> None:
    guest = wire.Shared()
    guest.fd = channels.guest_fds[3]
    for body in (b"x" * SHARED_BYTES, b"y" * 1000):
        assert channels.share(body)
        assert guest.take(len(body)) == body
    with pytest.raises(PermissionError):
        os.ftruncate(guest.fd, 0)


def test_a_large_body_needs_few_writes(channels: Channels) -> None:
    most = int(Path("/proc/sys/net/core/wmem_max").read_text())
    assert channels.socket.send(bytes(1024 * 1024)) > min(1024 * 1024, most) // 2


def test_the_stack_cannot_grow_nor_shrink_nor_be_closed_to_us(channels: Channels) -> None:
    stack = channels.guest_fds[3]
    with pytest.raises(PermissionError):
        os.ftruncate(stack, MEMORY_BYTES + 1)
    with pytest.raises(PermissionError):
        os.ftruncate(stack, 0)
    with pytest.raises(PermissionError):
        os.pwrite(stack, b"x", MEMORY_BYTES)
    with pytest.raises(PermissionError):
        fcntl.fcntl(stack, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert os.fstat(stack).st_size == MEMORY_BYTES


def test_the_stack_s_allocation_cannot_grow(channels: Channels) -> None:
    with pytest.raises(PermissionError):
        os.posix_fallocate(channels.guest_fds[3], 0, 2 * MEMORY_BYTES)


def test_what_was_written_to_the_stack_is_read_as_text(channels: Channels) -> None:
    assert channels.read_stack() == ""
    os.write(channels.guest_fds[3], b"Thread 0x1: \xff")
    assert channels.read_stack() == "Thread 0x1: \\xff"
    with mmap.mmap(channels.guest_fds[3], MEMORY_BYTES) as mapped:
        mapped[STACK_AT:] = b"y" * STACK_BYTES
    assert channels.read_stack() == "y" * STACK_BYTES


def test_the_stacks_of_tasks_are_apart_and_stay_when_that_of_threads_is_cleared(channels: Channels) -> None:
    os.write(channels.guest_fds[3], b"Thread 0x1: a long one")
    os.pwrite(channels.guest_fds[3], b"Task", TASKS_AT)
    channels.clear_stack()
    os.write(channels.guest_fds[3], b"Thread 0x1")
    assert (channels.read_stack(), channels.read_tasks()) == ("Thread 0x1", "Task")


def test_every_descriptor_is_close_on_exec(channels: Channels) -> None:
    ours = (channels.socket.fileno(), channels.log, channels.lifeline, channels.memory)
    assert not any(map(os.get_inheritable, (*ours, *channels.guest_fds)))


def test_handed_over_only_our_ends_stay_open() -> None:
    before = open_fds()
    with Channels(socket.SOCK_SEQPACKET) as channels:
        pass
    ours = {channels.socket.fileno(), channels.log, channels.lifeline, channels.memory}
    assert open_fds() - before == ours
    assert channels.socket.getblocking() is os.get_blocking(channels.log) is False
    channels.close_guest_ends()
    channels.close()
    channels.close()
    assert open_fds() - before == {channels.log}
    os.close(channels.log)


def test_not_handed_over_all_are_closed() -> None:
    before = open_fds()
    with pytest.raises(InterruptedError), Channels(socket.SOCK_STREAM):
        raise InterruptedError
    assert open_fds() == before


def test_closed_on_our_side_the_guest_sees_end_of_file(channels: Channels) -> None:
    connection, log, lifeline, memory = map(os.dup, channels.guest_fds)
    channels.close()
    assert os.read(connection, 1) == b""
    assert os.read(lifeline, 1) == b""
    os.write(log, b"its reader closes it, after the last line")
    for fd in (connection, log, lifeline, memory):
        os.close(fd)
