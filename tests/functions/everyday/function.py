"""What ordinary functions do with their system: each handler gives what must be the same however it is contained."""

import asyncio
import ctypes.util
import fcntl
import getpass
import locale
import mimetypes
import multiprocessing
import os
import platform
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
import zoneinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import shared_memory


def handler(event):
    """Each of the functions below; a failure is what it says."""
    return {one.__name__: tried(one) for one in EVERYDAY}


def tried(one):
    try:
        return one()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def own_process():
    with open("/proc/self/status") as status:
        name = next(line.split()[1] for line in status if line.startswith("Name"))
    links = [os.readlink(f"/proc/self/{link}") for link in ("exe", "cwd")]
    return [name.startswith("python"), os.path.samefile(links[0], sys.executable), links[1] == os.getcwd(), "0" in os.listdir("/proc/self/fd")]


def own_number():
    """The number that /proc has for it, which in a box is not the one that it has itself."""
    with open(f"/proc/{os.readlink('/proc/self')}/comm") as name:
        return name.read().startswith("python")


def own_threads():
    return len(os.listdir("/proc/self/task"))


def hardware():
    with open("/proc/cpuinfo") as cpus, open("/proc/meminfo") as memory:
        return [bool(cpus.read()), memory.readline().split()[0], os.cpu_count(), os.sysconf("SC_PAGE_SIZE"), len(os.getloadavg())]


def names_of_hosts():
    """By /etc/hosts, and by the files that say how names are found."""
    found = {address[4][0] for address in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    return ["127.0.0.1" in found, os.path.exists("/etc/hosts"), os.path.exists("/etc/nsswitch.conf")]


def resolver():
    """The machine's own name servers, also where the file is a link into /run."""
    with open("/etc/resolv.conf") as file:
        return "nameserver" in file.read()


def international_name():
    """A codec that is imported by the first name that needs it."""
    return "bücher.example".encode("idna").decode()


def certificates():
    context = ssl.create_default_context()
    context.load_default_certs()
    path = ssl.get_default_verify_paths()
    return [len(context.get_ca_certs()), bool(path.cafile or path.capath)]


def locales():
    return [locale.setlocale(locale.LC_ALL, "C.UTF-8"), locale.setlocale(locale.LC_ALL, ""), os.fsencode("ü").hex()]


def zones():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    return [str(berlin.utcoffset(__import__("datetime").datetime(2024, 7, 1))), len(zoneinfo.available_timezones()) > 100]


def user():
    return [getpass.getuser() == __import__("pwd").getpwuid(os.getuid()).pw_name, os.path.expanduser("~") == os.environ["HOME"]]


def host():
    return [bool(socket.gethostname()), bool(platform.node()), platform.system(), bool(uuid.uuid1())]


def kinds_of_files():
    return mimetypes.guess_type("a.webp")[0]


def libraries():
    """ctypes.util asks ldconfig, and loads what it finds."""
    return [bool(ctypes.util.find_library("c")), ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6") is not None]


def devices():
    with open("/dev/null", "wb") as null, open("/dev/zero", "rb") as zero, open("/dev/urandom", "rb") as chance:
        null.write(b"x")
        return [zero.read(2).hex(), len(chance.read(4))]


def temporary_files():
    with tempfile.TemporaryDirectory() as folder:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"hello")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.path.getsize(file.name)
        os.mkfifo(f"{folder}/fifo")
        os.symlink("fifo", f"{folder}/link")
        os.rename(f"{folder}/fifo", f"{folder}/renamed")
        return [size, sorted(os.listdir(folder)), folder.startswith(os.environ["TMPDIR"])]


def database():
    with sqlite3.connect(f"{os.environ['TMPDIR']}/test.db") as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table t (n)")
        connection.execute("insert into t values (42)")
        found = connection.execute("select n from t").fetchone()[0]
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(f"{os.environ['TMPDIR']}/test.db{suffix}"):
            os.remove(f"{os.environ['TMPDIR']}/test.db{suffix}")
    return found


def pipes():
    """A shell with a pipeline, input, output, errors, a status, and a process that is waited for by name."""
    done = subprocess.run(
        ["sh", "-c", "cat | tr a-z A-Z | head -c 5; echo gone wrong >&2; exit 3"],
        input="hello world",
        capture_output=True,
        text=True,
    )
    return [done.stdout, done.stderr, done.returncode, subprocess.getoutput("echo hi"), os.popen("echo ho").read()]


def programs():
    return [subprocess.check_output([name, "--version"]).split()[0].decode() for name in ("env", "sort")]


def own_interpreter():
    return subprocess.check_output([sys.executable, "-c", "import json, ssl, sqlite3; print(json.dumps([1]))"]).decode()


def processes():
    with multiprocessing.get_context("spawn").Pool(1) as spawned, multiprocessing.get_context("fork").Pool(2) as forked:
        return [spawned.map(abs, [-1]), forked.map(abs, [-1, -2, -3])]


def queues():
    context = multiprocessing.get_context("fork")
    queue, lock, value = context.Queue(), context.Lock(), context.Value("i", 0)
    child = context.Process(target=_count, args=(queue, lock, value))
    child.start()
    found = queue.get(timeout=30)
    child.join()
    return [found, value.value, child.exitcode]


def _count(queue, lock, value):
    with lock:
        value.value += 1
    queue.put("counted")


def memory_shared():
    """By name, with a child that opens it by that name."""
    memory = shared_memory.SharedMemory(create=True, size=1024)
    try:
        child = multiprocessing.get_context("fork").Process(target=_fill, args=(memory.name,))
        child.start()
        child.join()
        return [memory.buf[0], child.exitcode]
    finally:
        memory.close()
        memory.unlink()


def _fill(name):
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[0] = 7
    memory.close()


def threads():
    found = []
    some = [threading.Thread(target=found.append, args=(number,)) for number in range(4)]
    for one in some:
        one.start()
    for one in some:
        one.join()
    return sorted(found)


def signals():
    """To itself, and by an alarm."""
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append("usr1")), signal.signal(
        signal.SIGALRM, lambda *_: seen.append("alarm")
    )
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.05)
    signal.signal(signal.SIGUSR1, before[0])
    signal.signal(signal.SIGALRM, before[1])
    return seen


def tasks():
    async def main():
        child = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
        out, _ = await child.communicate()
        return [out.decode(), await asyncio.to_thread(len, "four")]

    return asyncio.run(main())


def sockets_in_files():
    path = f"{os.environ['TMPDIR']}/socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        accepted, _ = server.accept()
        with accepted:
            accepted.send(b"x")
            found = client.recv(1).decode()
    os.remove(path)
    return found


def own_loopback():
    """A server of its own, and a client."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    with urllib.request.urlopen(f"http://localhost:{server.server_port}/") as answer:
        found = answer.read().decode()
    server.shutdown()
    serving.join()
    server.server_close()
    return found


def interfaces():
    return "lo" in [name for _, name in socket.if_nameindex()]


EVERYDAY = (
    *(own_process, own_number, own_threads, hardware, names_of_hosts, resolver, international_name, certificates, locales, zones),
    *(user, host, kinds_of_files, libraries, devices, temporary_files, database, pipes),
    *(programs, own_interpreter, processes, queues, memory_shared, threads, signals, tasks),
    *(sockets_in_files, own_loopback, interfaces),
)
