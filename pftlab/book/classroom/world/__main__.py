"""The process of one submission: wait, and fork a process for each answer of it.

    python -m world '{"megabytes": 2048, "filter": true}'

It reads messages from its input and writes them to its output. It starts with torch and nothing
of the student; each answer runs in a fork, so that one that ends, or spoils what it can reach,
spoils no other. Whoever started this process put walls around it (`walls.py`).
"""

import errno
import json
import math
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from .messages import Closed, Line, pack, unpack
from .notebook import NotANotebook, Shell, answers, clean

FILE_BYTES = 10 * 2**20
OPEN_FILES = 64
LATE = 5  # seconds after which a process is ended from here, if the grader is gone
# No socket to anywhere, no look into another process, no memory beside the limit, and none of the
# rarely used parts of the kernel in which most holes were found.
FORBIDDEN = """
    socket socketpair bind connect listen accept accept4
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_open pidfd_getfd
    memfd_create memfd_secret shmget shmat shmctl msgget semget mq_open
    keyctl add_key request_key io_uring_setup io_uring_enter io_uring_register
    mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick
    mount_setattr unshare setns userfaultfd bpf perf_event_open personality
    name_to_handle_at open_by_handle_at fanotify_init quotactl acct swapon swapoff reboot
    kexec_load kexec_file_load init_module finit_module delete_module iopl ioperm
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname syslog
""".split()
# Another process or program, or a signal to one.
STARTING = ("fork", "vfork", "execve", "execveat", "kill", "tkill", "rt_sigqueueinfo")
A_THREAD = 0x10000  # CLONE_THREAD


def forbid(names: tuple[str, ...] | list[str], processes: bool) -> None:
    """From here on the system refuses these calls, and unless `processes` any new process."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in names:
        with suppress(OSError, ValueError, TypeError):  # older libraries do not know all of them
            rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
    if not processes:
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be looked at
        not_a_thread = seccomp.Arg(0, seccomp.MASKED_EQ, A_THREAD, 0)
        rules.add_rule(seccomp.ERRNO(errno.EPERM), "clone", not_a_thread)
    rules.load()


def limit(seconds: float, megabytes: int) -> None:
    """Limit processor time, the size of files, their number, and memory beyond what torch has."""
    import resource

    cpu = math.ceil(seconds) + 1
    for kind, most in (("CPU", cpu), ("FSIZE", FILE_BYTES), ("CORE", 0), ("NOFILE", OPEN_FILES)):
        number = getattr(resource, f"RLIMIT_{kind}")
        hard = resource.getrlimit(number)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (most, most))
    if sys.platform == "linux":  # macOS has no limit on memory that works
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = now + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def serve(megabytes: int, filtered: bool) -> None:
    """Fork a process for each message, until the line is closed."""
    line = Line(os.dup(0), os.dup(1), trusted=True)
    if filtered:
        forbid(FORBIDDEN, processes=True)
    import torch

    nothing = os.open(os.devnull, os.O_RDWR)  # what failed before this, the grader can tell
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)

    torch.set_num_threads(1)
    torch.zeros(2, 2) @ torch.zeros(2, 2)  # what torch sets up late is set up before the forks
    signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    line.send({"ready": True})
    while True:
        asked, numbers = line.receive()
        seconds = float(asked["seconds"])
        child = os.fork()
        if child == 0:
            work(line, asked, numbers, seconds, megabytes, filtered)
        signal.alarm(math.ceil(seconds) + LATE)
        os.waitpid(child, 0)
        signal.alarm(0)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it started, where nothing forbade that
        line.send({"ready": True})


def work(
    line: Line, asked: dict[str, Any], numbers: bytes, seconds: float, megabytes: int,
    filtered: bool,
) -> None:  # fmt: skip
    """Do what the message asks in this process, and answer what follows; never returns."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.setsid()
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        limit(seconds, megabytes)
        if filtered:
            forbid(STARTING, processes=False)
        if asked["do"] == "read":
            line.send(read(asked, numbers))
            line.receive()  # the end
        else:
            Worker(line).run(asked, numbers)
    finally:
        os._exit(0)


def read(asked: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The answers in a notebook."""
    try:
        found, notes = answers(data, asked["asked"])
    except NotANotebook as error:
        return {"not": str(error)}
    return {"answers": found, "notes": notes}


class CannotRun(Exception):
    """Why a cell gives no answer."""


class Worker:
    """Runs a cell, and answers the questions of a check about what it defines."""

    def __init__(self, line: Line):
        self.line = line
        self.kept: list[Any] = []

    def run(self, asked: dict[str, Any], numbers: bytes) -> None:
        while asked["do"] != "end":
            reply, out = self.reply(asked, numbers)
            self.line.send(reply, bytes(out))
            asked, numbers = self.line.receive()

    def reply(self, asked: dict[str, Any], numbers: bytes) -> tuple[dict[str, Any], bytearray]:
        out = bytearray()
        try:
            return getattr(self, f"do_{asked['do']}")(asked, numbers, out), out
        except CannotRun as error:
            return {"error": clean(str(error))}, bytearray()
        except SystemExit:
            return {"error": "Your code called exit()."}, bytearray()
        except NotImplementedError as error:
            return {"error": str(error), "kind": "stub"}, bytearray()
        except BaseException as error:
            return {"error": said(error)}, bytearray()

    def do_run(self, asked: dict[str, Any], numbers: bytes, out: bytearray) -> dict[str, Any]:
        """Run the cell."""
        import torch

        space: dict[str, Any] = {"__name__": "answer", "torch": torch, "math": math}
        shell = Shell(space)
        space["get_ipython"] = lambda: shell
        try:
            code = compile(asked["source"], "answer", "exec")
        except SyntaxError as error:
            raise CannotRun(f"Syntax error in line {error.lineno}: {error.msg}") from error
        exec(code, space)
        if asked["name"] not in space:
            raise CannotRun(
                f"Your cell should define {asked['name']}, and does not. Did you rename it?"
            )
        return {"value": pack(space[asked["name"]], out, self.keep)}

    def do_get(self, asked: dict[str, Any], numbers: bytes, out: bytearray) -> dict[str, Any]:
        """Read an attribute."""
        try:
            value = getattr(self.kept[asked["of"]], asked["name"])
        except AttributeError as error:
            return {"error": str(error), "kind": "attribute"}
        return {"value": pack(value, out, self.keep)}

    def do_call(self, asked: dict[str, Any], numbers: bytes, out: bytearray) -> dict[str, Any]:
        """Call something, and tell whether it changed a tensor that it was given."""
        import torch

        args, named = unpack(asked["given"], numbers, self._own)
        given = [*args, *named.values()]
        before = [v.clone() if isinstance(v, torch.Tensor) else None for v in given]
        value = self.kept[asked["of"]](*args, **named)
        if hasattr(value, "__next__"):  # a generator, such as of a module's parameters
            value = list(value)
        changed = any(
            was is not None and not torch.equal(was, now)
            for was, now in zip(before, given, strict=True)
        )
        return {"value": pack(value, out, self.keep), "changed": changed}

    def keep(self, value: Any) -> dict[str, Any]:
        """Keep an object here; the other side gets a number for it."""
        self.kept.append(value)
        kind = type(value).__name__
        return {"kept": len(self.kept) - 1, "type": kind, "callable": callable(value)}

    def _own(self, kept: dict[str, Any]) -> Any:
        raise CannotRun("A check asked for something that is not here.")


def said(error: BaseException) -> str:
    """What to tell a student about an error, and in which line of the answer it was."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")[:500]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == "answer"]
    if not lines:
        return f"The check cannot use what your code gave ({text}). Is it what was asked for?"
    return f"Your code raised {text} (in line {lines[-1]})"


if __name__ == "__main__":
    setting = json.loads(sys.argv[1])
    with suppress(Closed):
        serve(setting["megabytes"], setting["filter"])
