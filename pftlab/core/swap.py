"""Loading beside what is at work, and putting a new adapter in the place of an old one.

A server loads while it answers. What arrives is not to act before it is whole, and no pass inside a
block of `rows` is to see half of a change: the change waits for these passes, and they for it.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from .active import put_in_use, use
from .attachment import attach_saved, detach
from .errors import UnknownName
from .method import Method
from .ports.parameters import taken
from .record import Record, enabled_record
from .trained import fill_state, planted_state


class Parcel(NamedTuple):
    """An attachment, taken out of a model.

    Attributes:
        method: with its hyper-parameters.
        state: name in the model → tensor of its deltas.
        values: of the base parameters that it trains.
        head: name in the model → value of a head that came with it; {}: it uses the base's own.
        own: values of the base's own head, if it uses that.
        labels: what the head's outputs mean.
    """

    method: Method
    state: dict[str, Tensor]
    values: dict[str, Tensor]
    head: dict[str, Tensor]
    own: dict[str, Tensor]
    labels: tuple[str, ...]


def load_aside(model: nn.Module, read: Callable[[], Any]) -> None:
    """Let `read` attach something, which then is not in use; what was in use goes on to be.

    Args:
        model: with something attached or not.
        read: attaches to `model`.
    """
    if getattr(model, "pftlab", None) is None:
        read()
        use(model, None)
        return
    record = enabled_record(model, "Loading")
    before = dict(record.in_use)
    with record.passes.alone():
        put_in_use(model, record, {})
        try:
            read()
        finally:
            put_in_use(model, record, before)


def replace(model: nn.Module, name: str, read: Callable[[str], Any]) -> None:
    """Put what `read` attaches in the place of the attachment `name`, all or nothing.

    The new one is in use if the old one was, with its weight, and comes last in the order of
    attachment. It is read and tried under another name first; for that time both are in memory.

    Args:
        model: changed in place.
        name: of an attachment.
        read: attaches to `model`, under the name that it is given.

    Raises:
        UnknownName: `name` is not attached.
        and what `read` raises; the old attachment is as it was then.
    """
    record = enabled_record(model, "Replacing")
    if name not in record.methods:
        raise UnknownName("attached adapter", name, record.methods)
    before, old = dict(record.in_use), None
    arriving = name + "_arriving"
    while arriving in record.methods:
        arriving += "_"
    with record.passes.alone():
        put_in_use(model, record, {})
        try:
            read(arriving)
            put_in_use(model, record, {})
            new, old = _packed(model, record, arriving, name), _packed(model, record, name, name)
            detach(model, name)
            _unpack(model, record, name, new)
        except BaseException:
            if old is not None:
                if name in record.methods:
                    detach(model, name)
                _unpack(model, record, name, old)
            raise
        finally:
            if arriving in record.methods:
                detach(model, arriving)
            put_in_use(model, record, before)


def _packed(model: nn.Module, record: Record, name: str, new: str) -> Parcel:
    """The attachment `name`, which is set aside, with the keys that it would have as `new`."""
    renamed = re.compile(rf"(^|\.)pft_{re.escape(name)}(?=[._])")
    values = {
        n: value.kept
        for n, them in record.values.items()
        for value in them
        if name in value.users and value.kept is not None
    }
    state = {
        renamed.sub(rf"\1pft_{new}", key): tensor.clone()
        for key, tensor in planted_state(model, name).items()
    }
    head = record.head_of(name)
    held = taken(model, head.names) if head is record.shown else dict(head.values)
    own, its = (held, {}) if head is record.heads[0] else ({}, held)
    return Parcel(record.methods[name], state, values, its, own, head.labels)


def _unpack(model: nn.Module, record: Record, name: str, parcel: Parcel) -> None:
    put_in_use(model, record, {})
    attach_saved(model, {name: parcel.method}, parcel.head, parcel.head, parcel.labels)
    fill_state(model, parcel.state | parcel.values, [name], list(parcel.values))
    put_in_use(model, record, {})
    if parcel.own:
        record.heads[0].values = parcel.own
