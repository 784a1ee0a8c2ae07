"""Files that are not the function's own, or not its own to write."""

import errno
import os
import socket
import tempfile

import syscalls


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def write(path):
    with open(path, "wb") as file:
        file.write(b"# was here\n")


def reads_other_code(world):
    read(f"{world['victim_code']}/victim.py")


def lists_other_code(world):
    folder, name = os.path.split(world["victim_code"])
    if name not in os.listdir(folder):
        raise FileNotFoundError(errno.ENOENT, "only its own is shown")


def reads_other_folder(world):
    os.listdir(world["victim_folder"])


def reads_secrets_of_the_server(world):
    read(world["secret_file"])


def empties_file_of_the_server(world):
    os.truncate(world["secret_file"], os.path.getsize(world["secret_file"]))


def opens_file_of_the_server_to_all(world):
    os.chmod(world["secret_file"], 0o604)
    os.chmod(world["secret_file"], 0o600)


def lists_state(world):
    os.listdir(world["state"])


def connects_to_control_socket(world):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(world["control"])


def writes_own_code(world):
    _opens_after_chmod(f"{world['own_code']}/files.py")


def adds_to_own_code(world):
    try:
        os.chmod(world["own_code"], 0o755)
    except PermissionError:
        pass
    write(f"{world['own_code']}/planted-{os.getpid()}.py")


def writes_library(world):
    write(f"{world['library']}/planted.py")


def writes_guest(world):
    _opens_after_chmod(f"{world['guest']}/__main__.py")


def writes_interpreter(world):
    write(f"{os.path.dirname(os.__file__)}/planted.py")


def writes_open_folder(world):
    """Where every user of the machine may write, and every other program would find it."""
    write(f"{world['open_folder']}/planted")


def seen_in_tmp(world):
    """What any other program has left in /tmp."""
    read(world["planted_in_tmp"])


def seen_in_shm(world):
    """What another function has left in shared memory."""
    read(world["planted_in_shm"])


def links_secret(world):
    """A hard link makes a file outlast its removal."""
    os.link(world["secret_file"], f"{tempfile.gettempdir()}/link")


def follows_own_symlink(world):
    link = f"{tempfile.gettempdir()}/symlink"
    os.symlink(world["secret_file"], link)
    read(link)


def by_root_of_a_process(world):
    """Through /proc/PID/root of whoever may read it."""
    read(f"/proc/{world['server']}/root{world['secret_file']}")


def by_folder_of_a_process(world):
    os.listdir(f"/proc/{world['victim']}/cwd/")


def writes_proc_sys(world):
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))


def writes_hostname(world):
    """In the box the host name is its own; the file still is no function's to write."""
    os.close(os.open("/proc/sys/kernel/hostname", os.O_WRONLY))


def writes_sysrq(world):
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))


def lowers_oom_score(world):
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("0")


def makes_a_device(world):
    """The memory of the machine, as a file."""
    os.mknod(f"{tempfile.gettempdir()}/mem", 0o600 | 0o020000, os.makedev(1, 1))


def opens_a_disk(world):
    names = [name for name in os.listdir("/dev") if name.startswith(("vd", "sd", "nvme", "kmsg", "mem", "kvm"))]
    if not names:
        raise OSError(errno.ENOENT, "no device")
    for name in names:
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDONLY))
        except OSError as error:
            last = error
        else:
            return "done"
    raise last


def leaves_chroot(world):
    syscalls.call("chroot", b"/tmp")


def opens_by_handle(world):
    """Opens files by their inode, whatever folders are closed; containers have been left by it."""
    mount = os.open(world["own_code"], os.O_RDONLY)
    try:
        syscalls.call("open_by_handle_at", mount, b"\x08\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0", 0)
    finally:
        os.close(mount)


def foreign_descriptors(world):
    """What it was not given: anything but pipes, sockets, its memory, /dev/null and its own pid namespace."""
    allowed = ("pipe:", "socket:", "/memfd:", "/dev/null", "anon_inode:", os.readlink("/proc/self/ns/pid_for_children"))
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of the listing
            continue
        if not target.startswith((*allowed, "/proc/")):
            found.append(target)
    return ", ".join(found) if found else "none"


def foreign_variables(world):
    """Variables of the server, in its own environment or in those of the processes that it was forked from."""
    known = "".join(os.environ).encode()
    for pid in ("self", os.getppid(), 1):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ:
                known += environ.read()
        except OSError:
            continue
    return "done" if world["variable_of_the_server"].encode() in known else "none"


def _opens_after_chmod(path):
    """As whoever owns the file may."""
    try:
        os.chmod(path, 0o644)
    except PermissionError:
        pass
    os.close(os.open(path, os.O_WRONLY))
