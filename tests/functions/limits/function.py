"""Handlers that use up what they may use."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time

socket.setdefaulttimeout(0.05)


def open_files(event):
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return {"held": len(held), "error": error.strerror, "limit": resource.getrlimit(resource.RLIMIT_NOFILE)}
    finally:
        for fd in held:
            os.close(fd)


def core(event):
    return resource.getrlimit(resource.RLIMIT_CORE)


def own_code(event):
    """Where the code is, nothing can be written."""
    try:
        with open("new.txt", "w"):
            return "written"
    except OSError as error:
        return error.strerror


def default_timeout(event):
    return socket.getdefaulttimeout()


def oom_score(event):
    """What keeps an instance from being killed later than the server."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("0")
    except OSError as error:
        return error.strerror


def leaves_files_open(event):
    """The error reaches the caller, who has to learn which limit it was."""
    held = []
    while True:
        held.append(os.pipe())


def forks(event):
    """As often as it can, each child for as long as the call."""
    while True:
        if os.fork() == 0:
            time.sleep(60)


def starts_programs(event):
    held = []
    while True:
        held.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]))


def starts_threads(event):
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def fork_bomb(event):
    while True:
        try:
            os.fork()
        except OSError:
            pass


def fills(event):
    """The folder, until it has no room."""
    with open(os.path.join(event["data"], "filled"), "wb") as file:
        while True:
            file.write(bytes(1024 * 1024))


def reads_nothing(event):
    """The same error as that of a fork that cannot be had."""
    one, _other = socket.socketpair()
    one.setblocking(False)
    one.recv(1)


def burns(event):
    """So many milliseconds of processor time."""
    end = time.process_time() + event["data"] / 1000
    while time.process_time() < end:
        pass


def keeps(event):
    """A file of so many MiB."""
    with open(os.path.join(event["data"]["folder"], "kept"), "wb") as file:
        file.write(bytes(event["data"]["mib"] * 1024 * 1024))
