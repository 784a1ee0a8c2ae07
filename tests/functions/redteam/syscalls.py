"""System calls that Python does not offer, by their number (x86-64 and arm64)."""

import ctypes
import mmap
import os
import platform

_X86 = platform.machine() == "x86_64"
_NUMBERS = {  # name: (x86-64, arm64)
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "init_module": (175, 105),
    "quotactl": (179, 60),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "unshare": (272, 97),
    "move_pages": (279, 239),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "clone": (56, 220),
    "capset": (126, 91),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "shmctl": (31, 195),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name, *arguments):
    """The result of the system call. Raises OSError."""
    return raw(_NUMBERS[name][0 if _X86 else 1], *arguments)


def raw(number, *arguments):
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    passed += [ctypes.c_long(0)] * (6 - len(passed))
    found = _libc.syscall(ctypes.c_long(number), *passed)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def prctl(option, value=0):
    found = _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def in_32_bits(number, first=0):
    """The same kernel by the numbers of i386: what a filter that compares numbers alone lets pass. Raises OSError."""
    if not _X86:
        raise OSError(38, "only x86-64 has this table")
    code = b"\x53\x89\xf8\x89\xf3\x31\xc9\x31\xd2\xcd\x80\x5b\xc3"  # push rbx; eax, ebx = edi, esi; int 0x80; pop rbx
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    found = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)(number, first)
    if found < 0:
        raise OSError(-found, os.strerror(-found))
    return found


def in_a_child(attack):
    """Run it in a forked child, which it may end or change; raises what it raises, returns `signal-N` if it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, (attack() or "done").encode())
        except OSError as error:
            os.write(writing, str(error.errno).encode())
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    if os.WIFSIGNALED(status):
        return f"signal-{os.WTERMSIG(status)}"
    if said.isdecimal():
        raise OSError(int(said), os.strerror(int(said)))
    return said
