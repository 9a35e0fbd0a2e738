"""The messages between the grader and an answer: JSON, with the numbers of tensors behind it.

Nothing of them is code, nothing is unpickled, and what the grader receives has a largest size.
"""

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

JSON_BYTES = 2**20  # of a message to the grader
NUMBER_BYTES = 16 * 2**20
DTYPES = {str(t).removeprefix("torch."): t for t in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)}  # fmt: skip


class Closed(Exception):
    """The other process has ended, or what it sent is no message; the text says which."""


class Line:
    """One end of the line.

    Args:
        incoming: file descriptor to read from.
        outgoing: file descriptor to write to.
        trusted: False limits the size of what is received.
        deadline: time of the monotonic clock until which both may take; None: no limit.
    """

    def __init__(self, incoming: int, outgoing: int, trusted: bool, deadline: float | None = None):
        self.incoming, self.outgoing, self.trusted = incoming, outgoing, trusted
        self.deadline = deadline

    def send(self, content: dict[str, Any], numbers: bytes = b"") -> None:
        """Send one message.

        Raises:
            Closed: nobody reads.
            TimeoutError: the deadline came first.
        """
        head = json.dumps(content).encode()
        left = memoryview(struct.pack("!II", len(head), len(numbers)) + head + numbers)
        while left:
            self._wait([], [self.outgoing])
            try:
                left = left[os.write(self.outgoing, left[: 1 << 16]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed("ended the process") from error

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """(content, numbers) of the next message.

        Raises:
            Closed: there is none, it is too large, or it is no message.
            TimeoutError: the deadline came first.
        """
        head, numbers = struct.unpack("!II", self._read(8))
        if not self.trusted and (head > JSON_BYTES or numbers > NUMBER_BYTES):
            most = f"{JSON_BYTES // 2**20} MiB of text or {NUMBER_BYTES // 2**20} MiB of numbers"
            raise Closed(f"gave more than {most}")
        try:
            content = json.loads(self._read(head))
        except (ValueError, RecursionError) as error:
            raise Closed("sent what cannot be read") from error
        if not isinstance(content, dict):
            raise Closed("sent what cannot be read")
        return content, self._read(numbers)

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self._wait([self.incoming], [])
            try:
                part = os.read(self.incoming, min(size - len(parts), 1 << 20))
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed("ended the process") from error
            if not part:
                raise Closed("ended the process")
            parts += part
        return bytes(parts)

    def _wait(self, reading: list[int], writing: list[int]) -> None:
        if self.deadline is None:
            return
        left = self.deadline - time.monotonic()
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            raise TimeoutError


def pack(value: Any, numbers: bytearray, keep: Callable[[Any], dict[str, Any]]) -> Any:
    """`value` as JSON; tensors are appended to `numbers`, `keep` takes what is no plain data."""
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
        numbers += whole.reshape(-1).view(torch.uint8).numpy().tobytes()
        return {"tensor": [name, list(whole.shape)]}
    for kind in (tuple, list):
        if isinstance(value, kind):
            return {kind.__name__: [pack(part, numbers, keep) for part in value]}
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {"dict": {key: pack(part, numbers, keep) for key, part in value.items()}}
    return keep(value)


def unpack(packed: Any, numbers: bytes, remote: Callable[[dict[str, Any]], Any]) -> Any:
    """The value of `pack`; `remote` makes something of what was kept on the other side.

    Tensors take their numbers one after the other, so that no message unfolds to more than it is.
    """
    return _unpack(packed, _parts(numbers), remote)


def _parts(numbers: bytes) -> Callable[[int], bytearray]:
    """A function that returns the next `size` bytes."""
    view, place = memoryview(numbers), 0

    def take(size: int) -> bytearray:
        nonlocal place
        if not 0 <= size <= len(view) - place:
            raise ValueError("a tensor without its numbers")
        place += size
        return bytearray(view[place - size : place])

    return take


def _unpack(
    packed: Any, take: Callable[[int], bytearray], remote: Callable[[dict[str, Any]], Any]
) -> Any:
    if not isinstance(packed, dict):
        return packed
    kind, content = next(iter(packed.items()))
    if kind == "ellipsis":
        return ...
    if kind == "tensor":
        name, shape = content
        empty = torch.empty(0, dtype=DTYPES[name])
        if 0 in shape:
            return empty.reshape(shape)
        size = empty.element_size()
        for length in shape:
            size *= length
        return torch.frombuffer(take(size), dtype=torch.uint8).view(DTYPES[name]).reshape(shape)
    if kind in ("tuple", "list"):
        parts = [_unpack(part, take, remote) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "dict":
        return {str(key): _unpack(part, take, remote) for key, part in content.items()}
    return remote(packed)
