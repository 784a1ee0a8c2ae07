"""The function that others look for: it has a secret, a child, shared memory of every kind, and a file in each place."""

import contextlib
import os
import socket
import subprocess
import tempfile

import syscalls

IPC_RMID = 0
kept = []


def handler(event):
    return clean(event["data"]) if kept else settle(event["data"])


def settle(world):
    kept.append(subprocess.Popen(["/bin/sleep", "1000"]))
    with open(world["planted_in_shm"], "w") as file:
        file.write("planted")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(world["victim_abstract"])
    listening.listen()
    kept.append(listening)
    syscalls.call("shmget", world["sysv_key"], 8, 0o1600)
    syscalls.call("msgget", world["sysv_key"], 0o1600)
    with contextlib.suppress(PermissionError):  # of rules for files, to which these queues belong
        os.close(syscalls.call("mq_open", world["queue"].encode(), os.O_RDWR | os.O_CREAT, 0o600, 0))
    return tempfile.gettempdir()


def clean(world):
    """Outside a box nothing of this ends with its process."""
    os.remove(world["planted_in_shm"])
    syscalls.call("shmctl", syscalls.call("shmget", world["sysv_key"], 8, 0), IPC_RMID, 0)
    syscalls.call("msgctl", syscalls.call("msgget", world["sysv_key"], 0), IPC_RMID, 0)
    with contextlib.suppress(OSError):
        syscalls.call("mq_unlink", world["queue"].encode())
