"""What a function reaches by sockets and by the older ways between processes."""

import fcntl
import os
import socket
import struct

import syscalls


def _connects(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(5)
        client.connect(address)


def connects_to_loopback(world):
    """A database or an administration port on the same machine."""
    _connects(socket.AF_INET, ("127.0.0.1", world["port"]))


def connects_by_ipv6(world):
    _connects(socket.AF_INET6, ("::1", world["port6"]))


def connects_by_mapped_ipv6(world):
    _connects(socket.AF_INET6, ("::ffff:127.0.0.1", world["port"]))


def sends_by_udp(world):
    """A datagram that arrives: a name looked up, or secrets sent away."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", world["udp_port"]))
        client.send(b"x")
        client.recv(1)


def reaches_other_machines(world):
    """A route to an address of documentation (RFC 5737), by connecting a datagram socket, which sends nothing."""
    _connects(socket.AF_INET, ("192.0.2.1", 9), socket.SOCK_DGRAM)


def takes_port_of_server(world):
    """Shares the port of a socket that the server listens on."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", world["port"]))
        server.listen()


def opens_raw_socket(world):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def opens_packet_socket(world):
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()


def opens_vsock(world):
    """The way to a virtual machine's host."""
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()


def opens_crypto_socket(world):
    """AF_ALG, whose modules the kernel loads on demand."""
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()


def connects_to_abstract_socket(world):
    """A name that no file stands for: what desktop and container daemons listen on."""
    _connects(socket.AF_UNIX, world["abstract"])


def connects_to_abstract_socket_of_victim(world):
    _connects(socket.AF_UNIX, world["victim_abstract"])


def finds_sysv_memory_of_victim(world):
    syscalls.call("shmat", syscalls.call("shmget", world["sysv_key"], 8, 0o600), 0, 0)


def finds_sysv_queue_of_victim(world):
    syscalls.call("msgget", world["sysv_key"], 0o600)


def finds_posix_queue_of_victim(world):
    os.close(syscalls.call("mq_open", world["queue"].encode(), os.O_RDWR, 0, 0))


def changes_interface(world):
    """Takes the loopback interface down (SIOCSIFFLAGS)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0))
