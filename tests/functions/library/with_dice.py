"""Draws from a generator that its runtime has preloaded; with a thread from its import, it is not forked."""

import os
import threading

import dicer

if "THREAD" in os.environ:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def handler(event):
    return dicer.DICE.random()
