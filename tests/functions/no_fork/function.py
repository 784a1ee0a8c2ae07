"""A function that has used up the processes its user may have."""

import resource

resource.setrlimit(resource.RLIMIT_NPROC, (1, resource.getrlimit(resource.RLIMIT_NPROC)[1]))


def handler(event):
    return "forked"
