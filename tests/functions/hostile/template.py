"""An import that takes over its template: from then on it answers the dispatcher as `MODE` says."""

import os
import subprocess

from _forklight import control

MODE = os.environ["MODE"]
honest = control.send


def parent_of(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("PPid"))


def dead_process():
    child = subprocess.Popen(["/bin/true"])
    pidfd = os.pidfd_open(child.pid)
    child.wait()
    return pidfd


def descriptors():
    """What goes out in place of the new instance's pidfd."""
    match = {
        "init": lambda: (os.pidfd_open(1),),
        "dispatcher": lambda: (os.pidfd_open(parent_of(os.getppid())),),
        "zygote": lambda: (os.pidfd_open(os.getppid()),),
        "itself": lambda: (os.pidfd_open(os.getpid()),),
        "victim": lambda: (os.pidfd_open(int(os.environ["VICTIM"])),),
        "nothing": lambda: (),
        "two": lambda: (os.pidfd_open(1), os.pidfd_open(1)),
        "eight": lambda: tuple(os.open("/dev/null", 0) for _ in range(8)),
        "no_pidfd": lambda: (os.open("/dev/null", 0),),
    }
    return match[MODE]()


def dishonest(connection, message, fds=()):
    if message["t"] != "forked":
        return honest(connection, message, fds)
    if MODE == "garbage":
        connection.send(b"\xff\xfe")
    elif MODE == "deep":
        connection.send(b'{"t":"forked","x":' + b"[" * 60_000)
    elif MODE == "too_long":
        connection.send(b" " * 100_000)
    elif MODE == "huge_errno":
        honest(connection, {"t": "error", "n": message["n"], "errno": 2**70})
    elif MODE == "wrong_number":
        honest(connection, message | {"n": message["n"] + 1000}, fds)
    elif MODE == "closes":
        connection.close()
    elif MODE == "reports_the_living":
        honest(connection, message, fds)
        honest(connection, {"t": "exited", "n": message["n"], "pid": message["pid"], "code": 0})
    elif MODE == "unasked":
        for _ in range(100):
            honest(connection, {"t": "hello"}, tuple(os.open("/dev/null", 0) for _ in range(8)))
    elif MODE == "twice":
        honest(connection, message, fds)
        honest(connection, message, fds)
    elif MODE == "silent":
        return None
    else:
        honest(connection, message, descriptors())
    return None


control.send = dishonest


def handler(event):
    return "forked by a liar"
