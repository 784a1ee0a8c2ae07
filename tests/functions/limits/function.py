"""Handlers that use up what they may use."""

import os
import resource
import socket

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
