"""Handlers that do not finish in time, each in its own way."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections import deque
from itertools import repeat


def loops(event):
    while True:
        pass


def sleeps(event):
    time.sleep(1000)


def backtracks(event):
    re.match(r"(a+)+$", "a" * 64 + "b")


def powers(event):
    return pow(7, 10**9) % 2


def holds_gil(event):
    deque(repeat(None), maxlen=0)


def ignores_sigterm(event):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.01)


def catches_everything(event):
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            continue


def cleans_up(event):
    try:
        time.sleep(1000)
    finally:
        print("cleaned up")


def finishes_late(event):
    try:
        time.sleep(1000)
    except SystemExit:
        return "late but here"


async def awaits(event):
    await deeper()


async def deeper():
    try:
        await asyncio.sleep(1000)
    finally:
        print("cleaned up")


async def swallows(event):
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            continue


async def blocks_the_loop(event):
    time.sleep(1000)


async def sometimes(event):
    if event["data"] == "slow":
        await asyncio.sleep(1000)
    return "quick"


def starts_others(event):
    """A child, a daemon in a session of its own, and one that ignores what it can; then it hangs."""
    mark = event["data"]
    code = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 13, 15)]; time.sleep(1000)"
    for session in (False, True):
        subprocess.Popen([sys.executable, "-c", code, mark], start_new_session=session)
    daemon = "import os, sys, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(1000)"
    subprocess.run([sys.executable, "-c", daemon, mark], check=True)
    print("started")
    time.sleep(1000)
