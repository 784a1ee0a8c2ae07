"""Handlers that use other processes and threads."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading


def double(n):
    return 2 * n


def by_fork(event):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(double, range(5))


def by_spawn(event):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(double, range(5))


def by_queue(event):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=queue.put, args=(42,))
    child.start()
    found = queue.get(timeout=30)
    child.join()
    return [found, child.exitcode]


def by_executor(event):
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(double, range(5)))


def by_threads(event):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(double, range(5)))


def by_thread(event):
    found = []
    thread = threading.Thread(target=lambda: found.append(double(4)))
    thread.start()
    thread.join()
    return found


def by_subprocess(event):
    done = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def terminated(event):
    """A child that inherits the handler of SIGTERM still ends by it."""
    import time

    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode != 0


def terminates_its_group(event):
    """As scripts do to be rid of their children; it is in that group itself."""
    import signal

    child = subprocess.Popen(["sleep", "1000"])
    os.killpg(0, signal.SIGTERM)
    return child.wait() == -signal.SIGTERM


def leaves_behind(event):
    """Children that go on after the call: one of its own, one that hides in another session."""
    for session in (False, True):
        subprocess.Popen(["/bin/sleep", event["data"]], start_new_session=session)
    subprocess.run(["/bin/sh", "-c", f"setsid sleep {event['data']} & exit 0"], check=True)
    return os.getpid()
