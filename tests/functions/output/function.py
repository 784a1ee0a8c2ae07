"""Everything that can write to a function's log."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
import warnings

print("at import")


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
    """Writes when the call is over: nobody's but the instance's."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)  # until the handler's process closes its end, after the call
        os.write(1, b"late\n")
        os._exit(0)
    os.close(reader)
    globals()["held"] = writer


def lets_go(event):
    os.close(held)
    os.wait()
