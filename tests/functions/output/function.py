"""Everything that can write to a function's log."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
import time
import warnings

print("at import")
warnings.simplefilter("always")


def handler(event, context):
    print("by print")
    print("to stderr", file=sys.stderr)
    logging.warning("by logging")
    context.log.info("by the context")
    warnings.warn("by warnings", stacklevel=1)
    os.write(1, b"by write\n")
    ctypes.CDLL(None).puts(b"by C")
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["/bin/echo", "by a child"], check=True)
    thread = threading.Thread(target=print, args=("by a thread",))
    thread.start()
    thread.join()
    sys.stdout.write("without an end")


def much(event):
    for n in range(event["data"]):
        print(f"{n:06} {'x' * 93}")


def long_line(event):
    os.write(1, b"y" * event["data"] + b"\n")


def empty_lines(event):
    os.write(1, b"\n" * event["data"])


def afterwards(event):
    """A thread goes on writing when the call is over: that is nobody's but the instance's."""

    def go_on():
        while True:
            os.write(1, b"late\n")
            time.sleep(0.01)

    threading.Thread(target=go_on, daemon=True).start()
