"""Means its own `queue`, and gets another."""

import html


def handler(event):
    import queue

    return queue.NAME + html.escape("")
