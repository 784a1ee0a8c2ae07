"""Holds a lock."""

import threading

LOCK = threading.Lock()
LOCK.acquire()
