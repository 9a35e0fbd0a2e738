"""An answer that lives in another process, and the bytes that go between the two.

The process of an answer is not trusted. Nothing that comes from it is code and nothing is
unpickled: a message is JSON, with the numbers of tensors behind it, and has a largest size.
"""

import json
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .check import IN_PLACE, AnswerError, TooSlow
from .model import Wrong

LARGEST = 64 * 2**20  # bytes of a message
DTYPES = {str(t).removeprefix("torch."): t for t in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)}  # fmt: skip


class Closed(Exception):
    """The other process has ended."""


# Messages


def send(line: socket.socket, content: dict[str, Any], blob: bytes = b"") -> None:
    """Send one message."""
    head = json.dumps(content).encode()
    line.sendall(struct.pack("!II", len(head), len(blob)) + head + blob)


def receive(line: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
    """(content, blob) of the next message; `deadline` is a time of the monotonic clock.

    Raises:
        Closed: there is no further message, or one that is too large.
        TooSlow: the deadline came first.
    """
    head, blob = struct.unpack("!II", _read(line, 8, deadline))
    if head + blob > LARGEST:
        raise Closed(f"sent more than {LARGEST // 2**20} MiB")
    content = json.loads(_read(line, head, deadline))
    return content, _read(line, blob, deadline)


def _read(line: socket.socket, size: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([line], [], [], left)[0]:
                raise TooSlow
        part = line.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise Closed("ended the process")
        parts += part
    return bytes(parts)


# Values


def pack(value: Any, blob: bytearray, keep: Callable[[Any], dict[str, Any]]) -> Any:
    """`value` as JSON; tensors are appended to `blob`, and `keep` takes what is no plain data."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if value is ...:
        return {"ellipsis": True}
    if getattr(value, "shape", None) == () and hasattr(value, "item") and type(value) is not Tensor:
        value = value.item()  # a number of numpy's
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES:
            return keep(value)
        whole = value.detach().to_dense().cpu().contiguous()
        start = len(blob)
        blob += whole.reshape(-1).view(torch.uint8).numpy().tobytes()
        return {"tensor": [name, list(whole.shape), start, len(blob)]}
    for kind in (tuple, list):
        if isinstance(value, kind):
            return {kind.__name__: [pack(part, blob, keep) for part in value]}
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {"dict": {key: pack(part, blob, keep) for key, part in value.items()}}
    return keep(value)


def unpack(packed: Any, blob: bytes, remote: Callable[[dict[str, Any]], Any]) -> Any:
    """The value of `pack`; `remote` makes something of what was kept on the other side."""
    if not isinstance(packed, dict):
        return packed
    kind, content = next(iter(packed.items()))
    if kind == "ellipsis":
        return ...
    if kind == "tensor":
        name, shape, start, end = content
        if start == end:
            return (
                torch.frombuffer(bytearray(1), dtype=torch.uint8)[:0]
                .to(DTYPES[name])
                .reshape(shape)
            )
        part = torch.frombuffer(bytearray(blob[start:end]), dtype=torch.uint8)
        return part.view(DTYPES[name]).reshape(shape)
    if kind in ("tuple", "list"):
        parts = [unpack(part, blob, remote) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "dict":
        return {str(key): unpack(part, blob, remote) for key, part in content.items()}
    return remote(packed)


# The side of the checks


class Session:
    """The answer of one cell, in a process of its own.

    Args:
        line: to that process.
        deadline: when the time for everything that the answer does is up.
    """

    def __init__(self, line: socket.socket, deadline: float):
        self.line, self.deadline = line, deadline

    def ask(self, **content: Any) -> Any:
        """Send a request and return what is answered.

        Raises:
            AnswerError, NotImplementedError, AttributeError: the answer raised it, or is broken.
            Wrong: the answer changed what it was given.
            TooSlow: time was up.
        """
        blob = bytearray()
        packed = {key: pack(value, blob, _refuse) for key, value in content.items()}
        try:
            send(self.line, packed, bytes(blob))
            reply, received = receive(self.line, self.deadline)
            return self._open(reply, received)
        except (AnswerError, NotImplementedError, AttributeError, Wrong):
            raise
        except Closed as error:
            raise AnswerError(f"Your code {error}.") from error
        except OSError as error:
            raise AnswerError("Your code ended the process.") from error
        except Exception as error:  # whatever a broken message makes of the reading
            raise AnswerError("Your code sent what cannot be read.") from error

    def _open(self, reply: dict[str, Any], blob: bytes) -> Any:
        if "error" in reply:
            known = {"stub": NotImplementedError, "attribute": AttributeError}
            raise known.get(str(reply.get("kind")), AnswerError)(str(reply["error"])[:700])
        if reply.get("changed"):
            raise Wrong(IN_PLACE)
        return unpack(reply.get("value"), blob, self.remote)

    def remote(self, kept: dict[str, Any]) -> "Remote":
        """Something on the other side that is no plain data; its class has the name of there."""
        kind = Callable_ if kept.get("callable") else Remote
        made = type(str(kept.get("type"))[:40] or "object", (kind,), {})()
        object.__setattr__(made, "_session", self)
        object.__setattr__(made, "_kept", int(kept["kept"]))
        return made


class Remote:
    """Stands for an object in the process of the answer."""

    _session: Session
    _kept: int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._session.ask(do="get", of=self._kept, name=name)


class Callable_(Remote):
    """Stands for a function, a class or another object that can be called."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._session.ask(do="call", of=self._kept, args=args, named=named)


def _refuse(value: Any) -> dict[str, Any]:
    raise TypeError(f"A check gave a {type(value).__name__} to an answer in another process.")
