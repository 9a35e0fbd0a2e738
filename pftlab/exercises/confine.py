"""What a process may use: limits of the system, namespaces, and Landlock. Each where it exists."""

import ctypes
import os
import socket
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NEW_USER, NEW_PROCESSES, NEW_NETWORK, NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
DIE_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38  # of prctl
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on x86 and ARM
READ = 0b1101  # execute, read a file, read a folder
ON_FILES = 0b1_1000_0000_0000_0111 | 1 << 14  # what a rule about a single file may hold
FILE_BYTES = 10 * 2**20
PROCESSES = 64


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Let the system end this process when the one that started it ends (Linux)."""
    if sys.platform == "linux":
        _libc().prctl(DIE_WITH_PARENT, 9, 0, 0, 0)


def alone() -> bool:
    """Leave the network and, from the next child on, the other processes (Linux, where allowed)."""
    if sys.platform != "linux":
        return False
    return _libc().unshare(NEW_USER | NEW_PROCESSES | NEW_NETWORK | NEW_IPC) == 0


def limit(seconds: float, megabytes: int) -> bool:
    """Limit processor time, file size, processes and memory; tell whether memory is limited."""
    import resource

    cpu = int(seconds) + 1
    for kind, most in (("CPU", cpu), ("FSIZE", FILE_BYTES), ("CORE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))
    if sys.platform != "linux":
        return False  # macOS has no limit on memory that works: use a container
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = now + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return True


def limit_processes() -> None:
    """At most PROCESSES of this user in this namespace (no limit for root)."""
    import resource

    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


def readable() -> list[Path]:
    """What Python, torch and this package need to be read; no other part of the disk."""
    places = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    places |= {"/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/self"}
    places |= {"/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/urandom"}
    places |= {place for place in sys.path if place.endswith("-packages")}
    return [Path(place) for place in {*places, str(Path(__file__).parents[1])}]


def close_files(writable: Path) -> bool:
    """Let this process read only `readable()`, write only below `writable`, signal only its own.

    Landlock, Linux 5.13 and newer. False where the system has none.
    """
    if sys.platform != "linux":
        return False
    libc = _libc()
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = (1 << (13 + (version >= 2) + (version >= 3))) - 1
    rights |= (1 << 15) if version >= 5 else 0  # ioctl on devices
    everything = struct.pack("=QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(CREATE_RULESET, everything, size, 0)
    if rules < 0:
        return False
    _allow(libc, rules, [writable], rights)
    _allow(libc, rules, [Path("/dev/null")], rights)
    _allow(libc, rules, readable(), READ & rights)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = libc.syscall(RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return done


def _allow(libc: Any, rules: int, places: Iterable[Path], rights: int) -> None:
    for place in places:
        try:
            handle = os.open(place, getattr(os, "O_PATH", os.O_RDONLY))
        except OSError:
            continue
        here = rights if place.is_dir() else rights & ON_FILES
        libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", here, handle), 0)
        os.close(handle)


def refuse_network() -> None:
    """Where the system cannot take the network away, Python's way to it is closed: a reminder."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("there is no network while grading")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse  # type: ignore[assignment]
