"""Handlers that never end by themselves, and children that hide. The event's data marks every process they exec."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from itertools import repeat

SLEEP = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 13, 15)]; time.sleep(1000)"
DAEMON = f"import os; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); {SLEEP}"


def quick(event):
    return os.getpid()


def ignores_signals(event):
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def hangs_in_c(event):
    pow(7, 10**9)


def holds_gil(event):
    deque(repeat(None), maxlen=0)


def daemonizes(event):
    for code in (SLEEP, DAEMON, DAEMON):
        subprocess.Popen([sys.executable, "-S", "-c", code, event["data"]], start_new_session=True)
    time.sleep(1000)


def forks_itself(event):
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
            while True:
                time.sleep(1000)
    time.sleep(1000)


async def awaits(event):
    import asyncio

    await asyncio.sleep(1000)
