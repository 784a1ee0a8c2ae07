"""Handlers that use up what all share. They say how far they came, unless they are stopped."""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import syscalls

MIB = 1024 * 1024
MUCH = 96 * MIB
"""Half as much again as the test allows, and more."""
MANY = 100
"""Processes, threads or descriptors; the test allows 64 of each."""
WATCHED_S = 5
"""How long whoever watches memory has to see it."""


def handler(event):
    try:
        return globals()[event["data"]]() or "done"
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError:  # of setrlimit
        return "EPERM"


def heap():
    held = []
    for _ in range(MUCH // MIB):
        held.append(b"x" * MIB)
        time.sleep(0.001)
    time.sleep(WATCHED_S)


def heap_at_once():
    """A gigabyte a second and more."""
    held = []
    while True:
        held.append(b"x" * 64 * MIB)


def heap_of_a_program():
    code = f"held = b'x' * {MUCH}; import time; time.sleep({WATCHED_S})"
    subprocess.run([sys.executable, "-S", "-c", code], check=False)
    time.sleep(1)


def heap_of_many_children():
    """No single one has too much."""
    for _ in range(16):
        if os.fork() == 0:
            held = b"x" * (MUCH // 16)
            time.sleep(WATCHED_S)
            os._exit(len(held) > 0)
    time.sleep(WATCHED_S)


def memfd():
    """Files in memory, none of which is large."""
    for _ in range(MUCH // (4 * MIB)):
        os.write(os.memfd_create("hoard"), bytes(4 * MIB))
    time.sleep(WATCHED_S)


def shared_mapping():
    held = mmap.mmap(-1, MUCH)
    for at in range(0, MUCH, mmap.PAGESIZE):
        held[at] = 1
    time.sleep(WATCHED_S)


def sysv_memory():
    """Shared memory of the oldest kind."""
    held = syscalls.call("shmget", 0, MUCH, 0o1600)
    try:
        address = syscalls.call("shmat", held, 0, 0)
    finally:
        syscalls.call("shmctl", held, 0, 0)  # it goes with the process, so that no test leaves any
    ctypes.memset(address, 1, MUCH)
    time.sleep(WATCHED_S)


def _fill(folder):
    """In files that are small enough each."""
    names = []
    try:
        for number in range(MUCH // (4 * MIB)):
            name = f"{folder}/fill-{os.getpid()}-{number}"
            with open(name, "wb", buffering=0) as file:
                names.append(name)
                for _ in range(4):
                    if file.write(bytes(MIB)) < MIB:
                        raise OSError(errno.ENOSPC, "full")
        time.sleep(1)
    finally:
        for name in names:
            os.remove(name)


def own_folder():
    _fill(tempfile.gettempdir())


def shared_tmp():
    _fill("/tmp")


def shared_memory_files():
    _fill("/dev/shm")


def one_large_file():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryFile() as file:
        for _ in range(9):
            file.write(bytes(MIB))
            file.flush()


def processes():
    children = []
    try:
        for _ in range(MANY):
            if (child := os.fork()) == 0:
                time.sleep(1000)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


def threads():
    done = threading.Event()
    started = []
    threading.stack_size(65536)
    try:
        for _ in range(MANY):
            started.append(threading.Thread(target=done.wait))
            started[-1].start()
    except RuntimeError:  # can't start new thread
        return "EAGAIN"
    finally:
        done.set()


def descriptors():
    held = []
    for _ in range(MANY):
        held.append(os.open("/dev/null", os.O_RDONLY))


def descriptors_after_raising_the_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY * 2, MANY * 2))


def data_after_raising_the_limit():
    resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))


def file_size_after_raising_the_limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))


def core_dumps():
    resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))


def socket_buffers():
    """Memory of the kernel, which counts for no process: some 200 KiB each way of each pair."""
    held = []
    try:
        for _ in range(28):
            pair = socket.socketpair()
            held.append(pair)
            for end in pair:
                end.setblocking(False)
                try:
                    while True:
                        end.send(bytes(65536))
                except BlockingIOError:
                    continue
    finally:
        for pair in held:
            for end in pair:
                end.close()
