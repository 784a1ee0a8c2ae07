"""What a function sees and can do in its box."""

import os
import subprocess
import sys
import time

AT_IMPORT = {"pid": os.getpid(), "folder": os.environ["TMPDIR"]}
SLEEP = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 13, 15)]; time.sleep(1000)"
DAEMON = f"import os; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); {SLEEP}"


def looks(event):
    """What is there."""
    import socket

    with open("/proc/self/status") as status:
        lines = [line.split() for line in status]
    fields = {name.rstrip(":"): rest for name, *rest in lines}
    return {
        "root": sorted(os.listdir("/")),
        "etc": sorted(os.listdir("/etc")),
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()),
        "pid": os.getpid(),
        "at_import": AT_IMPORT,
        "folder": os.environ["TMPDIR"],
        "home": os.environ["HOME"],
        "capabilities": {name: fields[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "interfaces": [name for _, name in socket.if_nameindex()],
        "uid": os.getuid(),
        "host": socket.gethostname(),
    }


def exists(event):
    """Which of the given paths there are."""
    return [path for path in event["data"] if os.path.lexists(path)]


def writes(event):
    """Why each of the given paths cannot be written; empty if it can."""
    found = {}
    for path in event["data"]:
        try:
            with open(path, "wb") as file:
                file.write(b"x")
            found[path] = ""
        except OSError as error:
            found[path] = error.strerror
    return found


def fills(event):
    """How many MiB fit into a folder, and why no more."""
    count = 0
    path = os.path.join(event["data"], "filling")
    try:
        with open(path, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
                count += 1
    except OSError as error:
        os.unlink(path)
        return [count, error.strerror]


def leaves(event):
    """Files, deep and forbidden ones too, in the private folder; returns what is in /tmp."""
    at = os.environ["TMPDIR"]
    for _ in range(event["data"]):
        at = os.path.join(at, "deep")
        os.mkdir(at)
    if event["data"]:
        for number in range(500):
            open(f"{at}/{number}", "w").close()
        os.chmod(at, 0)
    return os.listdir("/tmp")


def waits(event):
    """Begin, and end when there is the file that says so."""
    begun, end = (os.path.join(event["data"], name) for name in ("begun", "end"))
    open(begun, "w").close()
    while not os.path.exists(end):
        time.sleep(0.001)
    return os.getpid()


def daemonizes(event):
    """Children of all kinds, marked by the event's data."""
    for code in (SLEEP, DAEMON, DAEMON):
        subprocess.Popen([sys.executable, "-S", "-c", code, event["data"]], start_new_session=True)
    return os.getpid()


def orphans(event):
    """Leave a dead grandchild, and return how many there were before."""
    before = _dead()
    child = os.fork()
    if child == 0:
        os.fork()
        os._exit(0)
    os.waitpid(child, 0)
    while _dead() == before:  # one that lives is not awaited before the next event
        time.sleep(0.001)
    return before


def _dead():
    """How many processes have ended and were not reaped."""
    return sum(pid.isdecimal() and _state(pid) == "Z" for pid in os.listdir("/proc"))


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # reaped meanwhile
        return ""


def sleeps(event):
    time.sleep(1000)
