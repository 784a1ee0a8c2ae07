"""What faulthandler wrote, made readable: without the guest's own frames, or with the reason why there is nothing."""

NOTHING = "(no Python stack: the process did not get to write one; it may have been stopped, or have closed the file)"


def readable(dump: str) -> str:
    """The dump without the frames of the guest. Each thread's frames run from the most recent call down.

    The guest calls the function, so its frames are the last of a thread: from the first of them on, all are cut.
    """
    lines, ours = [], False
    for line in dump.splitlines():
        if not line.startswith("  "):  # the heading of the next thread, or an empty line
            ours = False
        ours = ours or "/_forklight/" in line
        if not ours:
            lines.append(line)
    return "\n".join(lines).strip() or NOTHING
