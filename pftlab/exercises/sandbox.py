"""Processes in which answers run.

    grader ── starts once ──▶ server ── forks for each answer ──▶ keeper ──▶ answer
       └──────────────── questions and replies, see remote.py ───────────────┘

The server is a fresh Python with torch in it: it holds no other submission, no grade and no open
file of the grader, so neither does a process that is forked from it. The keeper leaves the
network and the other processes, starts the answer as the first process of the new world, and ends
it: when the first process of such a world ends, the system ends all others in it. Without such
worlds (macOS, some containers) it ends the process group.
"""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core.errors import Unavailable
from . import confine
from .check import AnswerError, said
from .remote import Closed, Session, pack, receive, send, unpack

START_SECONDS = 120.0  # to import torch, once


class Sandbox:
    """Runs answers; a context manager.

    Raises:
        Unavailable: the system cannot fork (Windows).
    """

    def __init__(self, megabytes: int):
        if not hasattr(os, "fork"):
            raise Unavailable("Grading needs Linux or macOS; on Windows use WSL or a container.")
        self.megabytes = megabytes
        self.protection: dict[str, bool] = {}  # what the system gave, known after the first answer

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def start(self) -> None:
        """Start the server."""
        self.control, theirs = socket.socketpair()
        package = str(Path(__file__).parents[2])
        environment = {
            "PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "PYTHONPATH": package,
            "HOME": "/nonexistent", "PFTLAB_OFFLINE": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        with theirs:
            self.server = subprocess.Popen(
                [sys.executable, "-P", "-m", "pftlab.exercises.sandbox", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        receive(self.control, time.monotonic() + START_SECONDS)

    def __exit__(self, *_: Any) -> None:
        self.control.close()
        self.server.wait()

    @contextmanager
    def answer(self, source: str, name: str, seconds: float) -> Iterator[Any]:
        """What `name` is after the cell `source` has run: plain data, or a `remote.Remote`.

        Raises:
            AnswerError: the cell cannot be run, or does not define the name.
            NotImplementedError: the cell raised it.
            TooSlow: time was up.
        """
        if self.server.poll() is not None:  # without walls around it, an answer can end it
            self.start()
        ours, theirs = socket.socketpair()
        with (
            ours,
            tempfile.TemporaryDirectory(
                prefix="pftlab-answer-", ignore_cleanup_errors=True
            ) as place,
        ):
            setting = {"place": place, "seconds": seconds, "megabytes": self.megabytes}
            with theirs:
                socket.send_fds(self.control, [json.dumps(setting).encode()], [theirs.fileno()])
            session = Session(ours, time.monotonic() + seconds)
            try:
                given = session.ask(do="run", source=source, name=name)
                self.protection = {k: v is True for k, v in given["protection"].items()}
                yield given["answer"]
            finally:
                with suppress(OSError):
                    self.control.sendall(b"e")
                    self.control.recv(1)  # the answer and all that it started are gone


# The server


def serve(control: socket.socket) -> None:
    """Fork a keeper for each answer, until the grader closes the line."""
    import torch

    torch.set_num_threads(1)
    torch.zeros(2, 2) @ torch.zeros(2, 2)  # what torch sets up late is set up before the forks
    send(control, {"ready": True})
    while True:
        given, handles, *_ = socket.recv_fds(control, 65536, 1)
        if not given:
            return
        setting = json.loads(given)
        keeper = os.fork()
        if keeper == 0:
            control.close()
            keep(handles[0], setting)
        os.close(handles[0])
        control.recv(1)  # or nothing, when the grader has ended
        os.kill(keeper, signal.SIGTERM)
        os.waitpid(keeper, 0)
        shutil.rmtree(setting["place"], ignore_errors=True)
        try:
            control.sendall(b".")
        except OSError:
            return


def keep(handle: int, setting: dict[str, Any]) -> None:
    """Start the answer, end it when asked or when it has ended; never returns."""
    try:
        confine.die_with_parent()
        signals = {signal.SIGTERM, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        alone = confine.alone()
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            work(handle, setting, alone)
        os.close(handle)
        signal.sigwait(signals)
        for end in (os.kill, os.killpg):
            try:
                end(child, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        os.waitpid(child, 0)
    finally:
        os._exit(0)


# The process of an answer


def work(handle: int, setting: dict[str, Any], alone: bool) -> None:
    """Run a cell and answer the questions of a check; never returns."""
    try:
        os.setsid()
        confine.die_with_parent()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.closerange(3, handle)
        os.closerange(handle + 1, 4096)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        os.chdir(setting["place"])
        os.environ["HOME"] = setting["place"]
        memory = confine.limit(setting["seconds"], setting["megabytes"])
        if alone:
            confine.limit_processes()
        else:
            confine.refuse_network()
        files = confine.close_files(Path(setting["place"]))
        protection = {"memory": memory, "network": alone, "processes": alone, "files": files}
        Worker(socket.socket(fileno=handle), protection).run()
    finally:
        os._exit(0)


class Worker:
    """Answers the questions of a check about one cell."""

    def __init__(self, line: socket.socket, protection: dict[str, bool]):
        self.line, self.protection = line, protection
        self.kept: list[Any] = []

    def run(self) -> None:
        while True:
            try:
                asked, blob = receive(self.line)
            except Closed:
                return
            reply, out = self.reply(asked, blob)
            send(self.line, reply, bytes(out))

    def reply(self, asked: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytearray]:
        out = bytearray()
        try:
            return getattr(self, f"do_{asked['do']}")(asked, blob, out), out
        except AnswerError as error:
            return {"error": str(error)}, bytearray()
        except SystemExit:
            return {"error": "Your code called exit()."}, bytearray()
        except NotImplementedError as error:
            return {"error": str(error), "kind": "stub"}, bytearray()
        except BaseException as error:
            return {"error": said(error)}, bytearray()

    def do_run(self, asked: dict[str, Any], blob: bytes, out: bytearray) -> dict[str, Any]:
        """Run the cell."""
        import torch

        space: dict[str, Any] = {"__name__": "answer", "torch": torch, "math": math}
        try:
            code = compile(asked["source"], "answer", "exec")
        except SyntaxError as error:
            raise AnswerError(f"Syntax error in line {error.lineno}: {error.msg}") from error
        exec(code, space)
        if asked["name"] not in space:
            raise AnswerError(
                f"Your cell should define {asked['name']}, and does not. Did you rename it?"
            )
        answer = {"answer": space[asked["name"]], "protection": self.protection}
        return {"value": pack(answer, out, self.keep)}

    def do_get(self, asked: dict[str, Any], blob: bytes, out: bytearray) -> dict[str, Any]:
        """Read an attribute."""
        try:
            value = getattr(self.kept[asked["of"]], asked["name"])
        except AttributeError as error:
            return {"error": str(error), "kind": "attribute"}
        return {"value": pack(value, out, self.keep)}

    def do_call(self, asked: dict[str, Any], blob: bytes, out: bytearray) -> dict[str, Any]:
        """Call something, and tell whether it changed a tensor that it was given."""
        import torch

        args, named = (unpack(asked[key], blob, self._own) for key in ("args", "named"))
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
        raise AnswerError("A check asked for something that is not here.")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
