"""Calls to the kernel that no function needs, most of which have let attackers out of containers."""

import ctypes
import fcntl
import os
import subprocess
import tempfile

import syscalls

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
SIGCHLD = 17
REMOUNT_BIND = 32 | 4096


def becomes_root(world):
    os.setuid(0)


def becomes_another_user(world):
    os.setresuid(*[world["uid"]] * 3)


def joins_groups(world):
    os.setgroups([0])


def takes_capabilities(world):
    """All of them."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    syscalls.call("capset", ctypes.byref(header), ctypes.byref(data))


def has_capabilities(world):
    """Effective or permitted ones; to bring others in takes a program that has them, and no_new_privs to be off."""
    with open("/proc/self/status") as status:
        found = {line.split(":")[0]: int(line.split()[1], 16) for line in status if line.startswith("Cap")}
    has = {value for name, value in found.items() if name != "CapBnd"} - {0}
    return {frozenset(): "none", frozenset({1 << 21}): "CAP_SYS_ADMIN"}.get(frozenset(has), f"{has}")


def runs_setuid_program(world):
    """A program that belongs to root and has the bit: who it runs as."""
    if not world["setuid_program"]:  # only root can make one
        with open("/proc/self/status") as status:
            return "none" if "NoNewPrivs:\t1" in status.read() else "done"
    found = subprocess.run([world["setuid_program"], "-u"], capture_output=True, text=True, check=True).stdout
    return "done" if found == "0\n" else "none"


def _unshare(flags):
    return syscalls.in_a_child(lambda: syscalls.call("unshare", flags) and None)


def makes_user_namespace(world):
    return _unshare(NEWUSER)


def makes_mount_namespace(world):
    return _unshare(NEWNS)


def makes_user_and_mount_namespace(world):
    return _unshare(NEWUSER | NEWNS)


def makes_net_namespace(world):
    return _unshare(NEWNET)


def makes_uts_namespace(world):
    return _unshare(NEWUTS)


def clones_user_namespace(world):
    def clone():
        if syscalls.call("clone", NEWUSER | SIGCHLD, 0, 0, 0, 0) == 0:
            os._exit(0)

    return syscalls.in_a_child(clone)


def clones_with_clone3(world):
    def clone():
        class Arguments(ctypes.Structure):
            _fields_ = [(f"a{number}", ctypes.c_uint64) for number in range(11)]

        wanted = Arguments(a0=NEWUSER, a4=SIGCHLD)
        if syscalls.call("clone3", ctypes.byref(wanted), ctypes.sizeof(wanted)) == 0:
            os._exit(0)

    return syscalls.in_a_child(clone)


def mounts(world):
    syscalls.call("mount", b"none", tempfile.gettempdir().encode(), b"tmpfs", 0, 0)


def remounts_root(world):
    syscalls.call("mount", b"none", b"/", 0, REMOUNT_BIND, 0)


def binds_over(world):
    syscalls.call("mount", b"/usr", b"/tmp", 0, 4096, 0)


def unmounts(world):
    syscalls.call("umount2", b"/proc", 2)


def opens_a_tree(world):
    syscalls.call("open_tree", -100, b"/", 1)


def opens_a_file_system(world):
    syscalls.call("fsopen", b"tmpfs", 0)


def sets_mount_attributes(world):
    syscalls.call("mount_setattr", -100, b"/", 0, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)


def pivots(world):
    syscalls.call("pivot_root", b"/tmp", b"/tmp")


def sets_hostname(world):
    syscalls.call("sethostname", b"planted", 7)


def loads_module(world):
    syscalls.call("init_module", b"x", 1, b"")


def loads_kernel(world):
    syscalls.call("kexec_load", 0, 0, 0, 0)


def reboots(world):
    syscalls.call("reboot", 0xFEE1DEAD, 672274793, 0, 0)  # Ctrl-Alt-Delete off: harmless where it works


def swaps(world):
    syscalls.call("swapon", b"/dev/null", 0)


def accounts(world):
    syscalls.call("acct", b"/dev/null")


def sets_the_clock(world):
    syscalls.call("settimeofday", (ctypes.c_long * 2)(2_000_000_000, 0), 0)


def loads_bpf(world):
    syscalls.call("bpf", 0, (ctypes.c_uint32 * 8)(2, 4, 8, 1), 32)


def opens_perf(world):
    event = (ctypes.c_uint8 * 128)()
    ctypes.cast(event, ctypes.POINTER(ctypes.c_uint32))[0] = 1
    ctypes.cast(event, ctypes.POINTER(ctypes.c_uint32))[1] = 128
    syscalls.call("perf_event_open", ctypes.byref(event), 0, -1, -1, 0)


def opens_userfaultfd(world):
    syscalls.call("userfaultfd", 1)  # UFFD_USER_MODE_ONLY


def opens_io_uring(world):
    syscalls.call("io_uring_setup", 1, (ctypes.c_uint8 * 120)())


def adds_key(world):
    """Keys are shared by all processes of a user."""
    syscalls.call("add_key", b"user", b"planted", b"x", 1, -3)


def asks_for_key(world):
    syscalls.call("keyctl", 0, -4, 0)


def reads_kernel_log(world):
    syscalls.call("syslog", 3, ctypes.create_string_buffer(16), 16)


def watches_all_files(world):
    syscalls.call("fanotify_init", 0, 0)


def changes_personality(world):
    """Turns address randomization off for what it starts: a filter may allow it."""
    syscalls.call("personality", 0x0040000)
    syscalls.call("personality", 0)


def pushes_into_terminal(world):
    """TIOCSTI types for whoever sits at the terminal."""
    fcntl.ioctl(0, 0x5412, b"x")


def pastes_into_terminal(world):
    fcntl.ioctl(0, 0x541C, b"\x03")


def uses_32_bit_calls(world):
    """unshare(CLONE_NEWUSER) as number 310 of i386."""
    return syscalls.in_a_child(lambda: syscalls.in_32_bits(310, NEWUSER) and None)


def uses_x32_calls(world):
    """unshare(CLONE_NEWUSER) with the bit of x32."""
    return syscalls.in_a_child(lambda: syscalls.raw(0x40000000 | 272, NEWUSER) and None)


def clears_no_new_privs(world):
    syscalls.prctl(38, 0)


def maps_page_zero(world):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    found = libc.mmap(ctypes.c_void_p(0), ctypes.c_size_t(4096), 3, 0x32, -1, ctypes.c_long(0))
    if found == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
