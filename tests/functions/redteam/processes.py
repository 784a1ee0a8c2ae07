"""Processes that are not the function's own."""

import ctypes
import os
import resource
import signal
import subprocess

import syscalls

SEIZE = 0x4206


def _signal(pid):
    """Signal 0 is subject to the same checks as any other."""
    os.kill(pid, 0)


def signals_server(world):
    _signal(world["server"])


def signals_zygote(world):
    _signal(world["zygote"])


def signals_other_template(world):
    _signal(world["victim_template"])


def signals_other_instance(world):
    _signal(world["victim"])


def signals_own_template(world):
    """In the box: whoever else is there under another number, such as what keeps the box alive."""
    own = [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) not in _mine()]
    for pid in {world["template"], *own}:
        if pid in {world["template"], 1} or _parent_of(pid) in {0, 1}:
            try:
                _signal(pid)
            except OSError as error:
                last = error
            else:
                return "done"
    raise last


def _mine():
    return {os.getpid(), int(os.readlink("/proc/self"))}


def _parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def holds_its_box_open(world):
    """The other end of what keeps its box open, so that the box would outlive the server."""
    os.close(os.open("/proc/1/fd/0", os.O_WRONLY | os.O_NONBLOCK))


def signals_sibling(world):
    """Another instance of the same function."""
    _signal(world["sibling"])


def signals_everybody(world):
    """All that it may signal, but for itself."""
    os.kill(-1, 0)


def signals_by_pidfd(world):
    signal.pidfd_send_signal(os.pidfd_open(world["victim"]), 0)


def takes_descriptor_of_server(world):
    syscalls.call("pidfd_getfd", os.pidfd_open(world["server"]), 0, 0)


def takes_descriptor_of_victim(world):
    syscalls.call("pidfd_getfd", os.pidfd_open(world["victim"]), 1, 0)


def traces_server(world):
    syscalls.call("ptrace", SEIZE, world["server"], 0, 0)


def traces_zygote(world):
    syscalls.call("ptrace", SEIZE, world["zygote"], 0, 0)


def traces_victim(world):
    syscalls.call("ptrace", SEIZE, world["victim"], 0, 0)


def traces_child_of_victim(world):
    """A program that another function has started, and that any process of its user may look into."""
    return syscalls.in_a_child(lambda: syscalls.call("ptrace", SEIZE, world["victim_child"], 0, 0) and None)


def traces_sibling(world):
    syscalls.call("ptrace", SEIZE, world["sibling"], 0, 0)


def traces_own_child(world):
    child = subprocess.Popen(["/bin/sleep", "10"])
    try:
        syscalls.call("ptrace", SEIZE, child.pid, 0, 0)
    finally:
        child.kill()
        child.wait()


def _reads_memory(pid):
    buffer = ctypes.create_string_buffer(8)

    class Span(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    # the same libraries lie at the same address in every fork
    here = Span(ctypes.addressof(buffer), 8)
    there = Span(ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value, 8)
    syscalls.call("process_vm_readv", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


def reads_memory_of_server(world):
    _reads_memory(world["server"])


def reads_memory_of_victim(world):
    _reads_memory(world["victim"])


def reads_memory_of_sibling(world):
    _reads_memory(world["sibling"])


def reads_memory_of_zygote(world):
    _reads_memory(world["zygote"])


def _opens(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        file.read(1)


def opens_memory_of_server(world):
    _opens(world["server"], "mem")


def opens_memory_of_victim(world):
    _opens(world["victim"], "mem")


def reads_environment_of_server(world):
    _opens(world["server"], "environ")


def reads_environment_of_victim(world):
    _opens(world["victim"], "environ")


def reads_environment_of_template(world):
    _opens(world["victim_template"], "environ")


def reads_environment_of_child_of_victim(world):
    """The secrets that a function hands to a program, as most functions do."""
    with open(f"/proc/{world['victim_child']}/environ", "rb") as environ:
        return "done" if world["secret"].encode() in environ.read() else "none"


def sees_command_line_of_victim(world):
    """What is on the command line of a program that another function has started."""
    with open(f"/proc/{world['victim_child']}/cmdline", "rb") as line:
        return "done" if b"sleep" in line.read() else "none"


def lists_descriptors_of_server(world):
    os.listdir(f"/proc/{world['server']}/fd")


def lists_descriptors_of_victim(world):
    os.listdir(f"/proc/{world['victim']}/fd")


def limits_victim(world):
    """A neighbour with no descriptors, or no processor."""
    resource.prlimit(world["victim"], resource.RLIMIT_NOFILE, (0, 0))


def limits_child_of_victim(world):
    resource.prlimit(world["victim_child"], resource.RLIMIT_CORE, (0, 0))


def slows_victim(world):
    os.setpriority(os.PRIO_PROCESS, world["victim"], 1)


def pins_victim(world):
    os.sched_setaffinity(world["victim"], os.sched_getaffinity(0))


def compares_with_victim(world):
    syscalls.call("kcmp", os.getpid(), world["victim"], 0, 0, 0)


def moves_pages_of_victim(world):
    syscalls.call("move_pages", world["victim"], 0, 0, 0, 0, 0)


def enters_namespaces_of_server(world):
    syscalls.call("setns", os.open(f"/proc/{world['server']}/ns/net", os.O_RDONLY), 0x40000000)


def enters_server_by_pidfd(world):
    syscalls.call("setns", os.pidfd_open(world["server"]), 0x00020000 | 0x10000000)


def raises_own_priority(world):
    os.setpriority(os.PRIO_PROCESS, 0, -5)


def runs_in_real_time(world):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
