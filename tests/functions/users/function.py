"""What a function with a user of its own is, and what it can do to others."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

_libc = ctypes.CDLL(None, use_errno=True)


def _status():
    with open("/proc/self/status") as status:
        return dict(line.rstrip().split(":\t", 1) for line in status if ":\t" in line)


AT_IMPORT = _status()


def handler(event):
    status = _status()
    folder = os.environ["TMPDIR"]
    with open(os.path.join(folder, "scratch"), "w") as file:
        file.write("x")
    return {
        "at_import": AT_IMPORT["Uid"],
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
        "folder": os.stat(folder).st_uid,
        "same": [attempt(os.setuid, os.getuid()), attempt(os.setresgid, *os.getresgid())],
        "pid": os.getpid(),
    }


def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.strerror
    return "done"


def change(event):
    """Try to become somebody else."""
    uid = event["data"]
    return {
        "uid": attempt(os.setresuid, uid, uid, uid),
        "effective": attempt(os.seteuid, uid),
        "groups": attempt(os.setgroups, [uid]),
        "root": attempt(os.setuid, 0),
    }


def harm(event):
    """Signal other processes and look into them."""
    found = {}
    for name, pid in event["data"].items():
        found[name] = [attempt(os.kill, pid, signal.SIGKILL)]
        for file in ("environ", "mem", "maps"):
            try:
                with open(f"/proc/{pid}/{file}", "rb") as opened:
                    opened.read(1)
                found[name].append("read")
            except OSError as error:
                found[name].append(error.strerror)
    return found


def daemon(event):
    """Leave the session for good, twice over, and stay; returns the pid."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(1)
            os.close(2)
            os.write(write, str(os.getpid()).encode())
            os.close(write)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            time.sleep(1000)
        os._exit(0)
    return int(os.read(read, 20))


def works(event):
    """What ordinary code does: threads, programs, processes."""
    done = []
    thread = threading.Thread(target=lambda: done.append("thread"))
    thread.start()
    thread.join()
    done.append(subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip())
    done.append(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True).stdout.strip())
    return done


def overdue(event):
    time.sleep(1000)


def namespace(event):
    """Try to make a user namespace, in every way there is."""
    newuser = 0x10000000
    found = []
    for call in ("unshare", "clone3"):
        number = {"x86_64": {"unshare": 272, "clone3": 435}, "aarch64": {"unshare": 97, "clone3": 435}}[os.uname().machine]
        argument = newuser if call == "unshare" else 0
        result = _libc.syscall(number[call], argument, 0)
        found.append(os.strerror(ctypes.get_errno()) if result < 0 else "done")
    return found
