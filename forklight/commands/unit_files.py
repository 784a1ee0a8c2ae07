"""The texts of a server's systemd units. Pure.

The unit keeps from the server, and so from its functions, what neither needs: other users' files, devices, every
privilege. What they do need is left open, and says so beside it.
"""

from math import ceil
from pathlib import Path

from msgspec import Struct

_STARTED_AFTER_S = 90
"""Added to the wait for brokers: systemd's default limit for a start."""
_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
_KILLED_AFTER_S = 10
"""Added to what a drain may take, first that of the triggers and then that of the dispatcher."""

_SERVICE = """\
[Unit]
Description=Forklight functions of {what}
After={after}
Wants={after}
# However often it fails: a broker or a disk may be away for long.
StartLimitIntervalSec=0

[Service]
Type=notify
TimeoutStartSec={start_s}
ExecStart={command}
# Not a signal, and not Type=notify-reload: neither can report that a reload failed.
ExecReload={reload}
User={user}
StateDirectory={name}
StateDirectoryMode=0700
RuntimeDirectory={name}
RuntimeDirectoryPreserve=yes
Restart=on-failure
RestartSec=1
WatchdogSec=30
KillMode=mixed
TimeoutStopSec={stop_s}
# One function over its memory is no reason to stop the others; if memory ends, functions are killed before the server.
OOMPolicy=continue
OOMScoreAdjust=-500
ManagedOOMPreference=avoid
LimitNOFILE=65536
UMask=0077
# The limits of functions are control groups below that of the unit.
Delegate=yes

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
{writes}ProtectHome={home}
PrivateTmp={tmp}
PrivateDevices=yes
ProtectClock=yes
ProtectKernelModules=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
# Left open, as the boxes of functions need it: namespaces (RestrictNamespaces=), control groups
# (ProtectControlGroups=), and all of /proc, because beside a part of it the kernel allows no other one
# (ProtectKernelTunables=, ProtectKernelLogs=). An ordinary user cannot change what these would protect.
# Left open, too: memory that is written and executed, as compilers of libraries do; and the functions' processes, which
# ProtectProc= would hide from the server that watches them.

[Install]
WantedBy=multi-user.target
"""

_SOCKET = """\
[Unit]
Description=Where {name}.service listens

[Socket]
ListenStream={stream}
{mode}Backlog=1024

[Install]
WantedBy=sockets.target
"""


class Unit(Struct, frozen=True, kw_only=True):
    """One server. `reads` are the folders and files it must be able to read; `listen` is that of `[http]`."""

    name: str
    user: str
    command: tuple[str, ...]
    reload: tuple[str, ...]
    """The command that reloads the running server, and fails if the reload does."""
    reads: tuple[Path, ...]
    listen: str
    writes: tuple[Path, ...] = ()
    """The folders and files that functions write, besides the state directory."""
    drain_s: float
    wait_s: float = 0.0
    """How long the start may wait for brokers."""
    brokers: tuple[str, ...] = ()
    """Their hosts."""


def service_unit(unit: Unit) -> str:
    """`NAME.service`."""
    return _SERVICE.format(
        what=_literal(str(unit.reads[0])),
        command=" ".join(map(_word, unit.command)),
        reload=" ".join(map(_word, unit.reload)),
        user=unit.user,
        name=unit.name,
        after=" ".join(("network-online.target", *_local_brokers(unit))),
        start_s=ceil(unit.wait_s) + _STARTED_AFTER_S,
        stop_s=ceil(2 * unit.drain_s) + _KILLED_AFTER_S,
        writes=f"ReadWritePaths={' '.join(_quoted(str(path)) for path in unit.writes)}\n" if unit.writes else "",
        home="read-only" if _reads_below(unit, "/home", "/root", "/run/user") else "yes",
        tmp="no" if _reads_below(unit, "/tmp", "/var/tmp") else "yes",  # noqa: S108  named, not used
    )


def socket_unit(unit: Unit) -> str:
    """`NAME.socket`, which systemd takes for that of `NAME.service`."""
    path = unit.listen.removeprefix("unix:")
    if path == unit.listen:
        return _SOCKET.format(name=unit.name, stream=unit.listen, mode="")
    return _SOCKET.format(name=unit.name, stream=_literal(path), mode=f"SocketMode=0660\nSocketUser={unit.user}\n")


def _local_brokers(unit: Unit) -> tuple[str, ...]:
    return ("rabbitmq-server.service",) if _LOCAL.intersection(unit.brokers) else ()


def _reads_below(unit: Unit, *folders: str) -> bool:
    return any(path.is_relative_to(folder) for path in (*unit.reads, *unit.writes) for folder in folders)


def _word(text: str) -> str:
    """One argument of ExecStart= (systemd.service(5), "Command lines"); dollar signs begin variables there."""
    return _quoted(text).replace("$", "$$")


def _quoted(text: str) -> str:
    """One item of a list (systemd.syntax(7), "Quoting")."""
    escaped = _literal(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(mark in escaped for mark in " \t'\";\\") else escaped


def _literal(text: str) -> str:
    """Percent signs begin specifiers (systemd.unit(5))."""
    return text.replace("%", "%%")
