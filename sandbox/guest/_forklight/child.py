"""The command of an instance, as a process: its start, its environment, what it uses, and what it was doing."""

import contextlib
import errno
import os
import signal
import time
from typing import NamedTuple, NoReturn

from . import posix
from .imports import LoadError, in_one_folder

_DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_MAX_THREADS_SHOWN = 20
_STATES = {"R": "running", "S": "waiting", "D": "waiting for a device", "T": "stopped", "Z": "ended"}
_NO_SUCH_PROGRAM = "it is neither in the function's code nor on PATH"


class Command(NamedTuple):
    """What runs, as prepared in the template."""

    argv: "tuple[str, ...]"
    form: str
    """of its events: `lambda` or `forklight`"""
    function: str
    version: str
    handler: str
    max_result: int
    memory_mib: int
    code: str
    env: "dict[str, str]"
    """the variables of the function"""

    @property
    def region(self) -> str:
        """What events name where AWS has its region."""
        return self.env.get("AWS_REGION", "local")

    @property
    def name(self) -> str:
        """For messages."""
        return repr(self.argv[0])

    def environment(self, address: str) -> "dict[str, str]":
        """Its variables: those of the function, and those that AWS's clients read."""
        return {
            "AWS_LAMBDA_FUNCTION_NAME": self.function,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mib),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.function}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{self.version}/{os.path.basename(self.env.get('TMPDIR', ''))}",
            **self.env,
            "AWS_LAMBDA_RUNTIME_API": address,
            "LAMBDA_TASK_ROOT": self.code,
            "_HANDLER": self.handler,
        }


class Child:
    """The running process."""

    def __init__(self, command: Command, address: str) -> None:
        """Start it. Raises LoadError if that is impossible."""
        argv = command.argv
        start = os.posix_spawn if "/" in argv[0] else os.posix_spawnp
        try:
            self.pid = start(argv[0], argv, command.environment(address), setsigmask=(), setsigdef=_DEFAULTED)
        except OSError as error:
            raise LoadError(
                "InitFailed", f"the command {command.name} cannot be started: {_why(argv[0], error)}"
            ) from None
        self.pidfd = os.pidfd_open(self.pid)
        self._shown = posix.pid_of(self.pidfd)
        self._clock = (~self.pid << 3) | 2  # CPUCLOCK_SCHED of this process, as clock_getcpuclockid(3) makes it

    def cpu_ns(self) -> int:
        """The CPU time that it has used, without that of its own children; 0 once it is gone."""
        with contextlib.suppress(OSError):
            return time.clock_gettime_ns(self._clock)
        return 0

    def peak_rss_kb(self) -> int:
        """Its peak memory; 0 once it is gone."""
        with contextlib.suppress(OSError, StopIteration), open(f"/proc/{self._shown}/status") as status:
            return int(next(line for line in status if line.startswith("VmHWM:")).split()[1])
        return 0

    def ask_to_end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def reap_others(self) -> None:
        """Reap the orphans that it has left, up to the first end of its own."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid == self.pid:
                    return
                os.waitpid(ended.si_pid, 0)

    def reap(self) -> int:
        """Wait for its end; returns its exit code, or minus the signal."""
        os.close(self.pidfd)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def described(self) -> str:
        """What its threads do, in place of a stack, which only the program itself could write."""
        lines = ["(no stack: Forklight cannot read that of a program; its threads:)"]
        with contextlib.suppress(OSError):
            for task in sorted(os.listdir(f"/proc/{self._shown}/task"), key=int)[:_MAX_THREADS_SHOWN]:
                with contextlib.suppress(OSError):
                    lines.append(f"  {_thread(f'/proc/{self._shown}/task/{task}')}")
        return "\n".join(lines) + "\n"


def _thread(folder: str) -> str:
    """`worker: waiting in futex_wait_queue, 0.12 s of processor time`"""
    with open(f"{folder}/stat") as stat:
        name, _, rest = stat.read().partition("(")[2].rpartition(")")
    fields = rest.split()
    used_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    where = ""
    with contextlib.suppress(OSError), open(f"{folder}/wchan") as channel:
        where = channel.read().strip("0")
    state = _STATES.get(fields[0], fields[0])
    return f"{name}: {state}{f' in {where}' if where else ''}, {used_s:.2f} s of processor time"


def _why(program: str, error: OSError) -> str:
    """The reason, and what helps."""
    if "/" not in program:
        return f"{error.strerror}: {_NO_SUCH_PROGRAM}"
    if error.errno == errno.ENOENT and os.path.exists(program):
        return _without_interpreter(program)
    if error.errno == errno.ENOENT and os.path.isabs(program):
        return "there is no such file, or it is not open to the function (mounts)"
    if error.errno == errno.ENOENT:
        return f"there is no such file in the function's code{in_one_folder()}"
    if error.errno == errno.EACCES and not os.access(program, os.X_OK):
        return f"it may not be executed: run `chmod +x {program}`"
    if error.errno == errno.ENOEXEC:
        return f"it is neither a program for {os.uname().machine} nor a script that begins with `#!`"
    return str(error.strerror)


def _without_interpreter(program: str) -> str:
    what = "the loader that it names"
    with contextlib.suppress(OSError), open(program, "rb") as file:
        line = file.readline(256)
        if line.startswith(b"#!") and line.endswith(b"\r\n"):
            return f"its lines end as on Windows: run `sed -i 's/\\r$//' {program}`"
        if line.startswith(b"#!"):
            what = f"its interpreter {line[2:].decode('utf-8', 'replace').strip().partition(' ')[0]!r}"
    return f"{what} does not exist, or is not open to the function"


def die_like(code: int) -> NoReturn:
    """End this process as its command has ended: with its exit code, or by its signal.

    The first process of a pid namespace, as in a box, cannot send itself a signal; it ends as a shell would.
    """
    if code < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        code = 128 - code
    os._exit(code)
