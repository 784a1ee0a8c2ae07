"""How a template enters its box, and gives each of its instances a pid namespace of its own.

Theory of operation. A process that enters a pid namespace stays outside itself: only its children are in it. So the
fork of the zygote enters the namespaces of the box, forks once more, hands the pidfd of that child to the zygote and
exits. The zygote adopts the child, which is the template.

There the template still has all capabilities in the user namespace of the box. It keeps the one that a new pid
namespace requires, and its instances none. An instance is the first process of its pid namespace, so whatever it has
started is killed by the kernel as soon as it ends, daemons too.
"""

import errno
import os
import socket

from . import at_fork, control, posix


class Entrance:
    """The way of one template into its box. Made by the zygote, which waits at the outer end."""

    def __init__(self, pidfd: int, namespaces: int) -> None:
        """`pidfd`: of the first process of the box; `namespaces`: those of the box, as flags of setns(2)."""
        self._pidfd = pidfd
        self._namespaces = namespaces
        self._outer, self._inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.fds = (pidfd, self._inner.fileno())
        """What the fork needs to enter."""

    def enter(self) -> None:
        """In the fork of the zygote: returns in its child, which is in the box. Never returns in the fork itself."""
        pid, code = -1, 1
        try:
            posix.enter_namespaces(self._pidfd, self._namespaces)
            pid = at_fork.fork_bare()
            if pid:
                control.send(self._inner, {"t": "entered"}, (os.pidfd_open(pid),))
                code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            if pid:
                os._exit(code)
        os.close(self._pidfd)
        self._outer.detach()  # closed with all that the zygote has open
        self._inner.close()

    def wait(self, pid: int) -> int:
        """In the zygote: wait until its fork has exited; returns the pidfd of the template. Raises OSError."""
        with self._outer, self._inner:
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if code:  # the errno, or minus the signal that killed it
                raise OSError(code if code > 0 else errno.ESRCH, "the template could not enter its box")
            _, (pidfd,) = control.receive(self._outer)
            return pidfd


class Nursery:
    """Forks the instances of a template in a box."""

    def __init__(self) -> None:
        self.fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        """The template's own pid namespace, to return to."""

    def fork(self) -> int:
        """Like at_fork.fork_bare, into a new pid namespace."""
        pid = -1
        posix.unshare(posix.CLONE_NEWPID)
        try:
            pid = at_fork.fork_bare()
        finally:
            if pid != 0:
                posix.enter_namespaces(self.fd, posix.CLONE_NEWPID)
        return pid
