"""Attaching a method to a model, and taking it out again.

`attach` is all or nothing: when it raises, the model is as it was. What attaching changed is in
the model's record, so that `detach` and `disabled` bring the base back bit for bit.
"""

import copy
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .delta import planted
from .errors import BadValue, Refused
from .heads import Head, chosen_head, write_labels
from .places import Port, config_of
from .planting import plant, uproot
from .ports.attention import NAME as NAME_OF_OURS
from .ports.attention import KeysValues
from .ports.parameters import check_trainable, put
from .ports.steps import guard, own_callbacks
from .reading import check_read
from .record import (
    Record,
    Value,
    check_enabled,
    enabled_record,
    is_sharded,
    new_record,
    record_of,
)
from .seeding import seeded

if TYPE_CHECKING:
    from .method import Method

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def attach(
    model: Any,
    method: "Method",
    name: str | None = None,
    seed: int | None = None,
    head: Iterable[str] | None = None,
) -> nn.Module:
    """Attach `method` to `model` in place; see Method.attach for the arguments and errors."""
    record = _record_for(model, head)
    with record.passes.alone():
        its = record.shown or _untrained_head(record)
        _attach(model, record, method, method.name if name is None else name, its, seed)
    return model


def attach_saved(
    model: Any,
    methods: Mapping[str, "Method"],
    head: Mapping[str, Tensor],
    head_names: Iterable[str],
    labels: Sequence[str] = (),
) -> None:
    """Attach what a file holds, with the head that it was trained with.

    The head that is in the model now is set aside, and comes back when these attachments go. A
    file without a head uses that of the base.

    Args:
        model: changed in place. When an error is raised, some of the methods may be attached.
        methods: name → method.
        head: name of a parameter in the model → its value in the file.
        head_names: of all parameters that are trained as the head; what the file does not hold is
            as it is in the base.
        labels: what the head's outputs mean; none: as in the base.

    Raises:
        BadValue: the head does not fit, or the file trains what another attachment has trained.
        and what Method.attach raises.
    """
    record = _record_for(model, None)
    _check_head(model, record, head)
    now = record.trained_now
    for name, method in methods.items():
        for n in method.trains(model):
            if users := now.get(n):
                raise BadValue(
                    f"{name!r} brings values of {n}, which {users[0]!r} has trained already, and a "
                    f"parameter has one value at a time. Set {users[0]!r} aside first, "
                    "pftlab.use(model, None), or detach it."
                )
    if labels and len(labels) != model.config.num_labels:
        raise BadValue(
            f"The file names {len(labels)} labels, and this {type(model).__name__} has "
            f"{model.config.num_labels} outputs. Load the base with num_labels={len(labels)}."
        )
    own = record.heads[0]
    its = Head(frozenset(head_names), values=dict(head), labels=tuple(labels)) if head else own
    with record.passes.alone():
        for name, method in methods.items():
            _attach(model, record, method, name, its, None)


def detach(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take a method out again, or all of them; the base is bit for bit what it was.

    Args:
        model: a model with something attached; changed in place and returned.
        name: which; None: all, with the head and the `requires_grad` flags back as they were. A
            head that came with `name` alone goes with it, and the one before it comes back.

    Raises:
        Refused: nothing is attached, or it is disabled.
        BadValue: `name` is not attached.
    """
    record = enabled_record(model, "Detaching")
    names = list(record.methods) if name is None else [name]
    for each in names:
        if each not in record.methods:
            raise BadValue(
                f"{each!r} is not attached. Attached: {', '.join(record.methods)}. "
                "Give one of these, or none to detach all."
            )
    with record.passes.alone():
        for each in names:
            for _, host, child, _delta in planted(model, each):
                uproot(host, child)
            record.forget(model, each)
        settle(model, record)
        if not record.methods:
            put(model, record.originals)  # what is left is the head
            for n, flag in record.required_grad.items():
                model.get_parameter(n).requires_grad_(flag)
            write_labels(model, record.labels)
            _end(model, record)
    return model


def release(model: nn.Module) -> nn.Module:
    """Forget every attachment but keep what the base's own parameters have become.

    Raises:
        Refused: nothing is attached, or it is disabled.
    """
    record = enabled_record(model, "Merging")
    for _, host, child, _delta in planted(model):
        uproot(host, child)
    for n, parameter in model.named_parameters():
        parameter.requires_grad_(record.required_grad[n])
    record.methods.clear()
    settle(model, record)
    _end(model, record)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the block the model is the base that it was, bit for bit, head included.

    The block is for computing with the base. What would change or write down the model, such as
    `save`, `merge`, `train` or `detach`, is refused inside; such blocks may be nested.

    Raises:
        Refused: nothing is attached, or it is merged.
    """
    record = record_of(model)
    if record.merged is not None:
        check_enabled(record, "Disabling")
    deltas = [delta for *_, delta in planted(model)]
    active = [delta.active for delta in deltas]
    trained = {n: model.get_parameter(n).data for n in record.originals}
    attention = config_of(model)._attn_implementation
    record.disabled += 1
    try:
        for delta in deltas:
            delta.active = False
        for n, original in record.originals.items():
            parameter = model.get_parameter(n)
            parameter.data = original.to(parameter)
        _set_attention(model, record.attention)
        with record.passes.inside(None):
            yield model
    finally:
        for delta, flag in zip(deltas, active, strict=True):
            delta.active = flag
        for n, data in trained.items():
            model.get_parameter(n).data = data
        _set_attention(model, attention)
        record.disabled -= 1


def settle(model: nn.Module, record: Record) -> None:
    """Let attention and guard be what the attachments in use need."""
    listening = any(isinstance(d, KeysValues) and d.weight for *_, d in planted(model))
    _set_attention(model, NAME_OF_OURS if listening else record.attention)
    acts = any(own_callbacks(type(method)) for method in record.acting.values())
    if acts and record.guard is None:
        record.guard = guard(model)
    elif not acts and record.guard is not None:
        record.guard.remove()
        record.guard = None


def _end(model: Any, record: Record) -> None:
    for hook in record.head_hooks:
        hook.remove()
    del model.pftlab


def _untrained_head(record: Record) -> Head:
    """For what is attached while nothing is in use: a head that starts as the base's own did."""
    own = record.heads[0]
    if not own.users:
        return own
    return Head(own.names, values={n: record.originals[n] for n in own.names})


def _record_for(model: Any, head: Iterable[str] | None) -> Record:
    """The record of `model`, or a new one if nothing is attached yet."""
    check_ready(model)
    record: Record | None = getattr(model, "pftlab", None)
    if record is None:
        return new_record(model, chosen_head(model, head))
    if head is not None:
        raise BadValue(
            f"head={head!r}: {', '.join(record.methods)} is attached already, and the first "
            "attachment decides what is trained as the head. Detach it first."
        )
    return record


def _attach(
    model: Any, record: Record, method: "Method", name: str, head: Head, seed: int | None
) -> None:
    """Attach one method, trained with `head`, which is in the record or new."""
    _check_name(name, record)
    parameters = dict(model.named_parameters())
    flags = {n: p.requires_grad for n, p in parameters.items()}
    attention = model.config._attn_implementation
    first = not record.methods
    try:
        with seeded(seed):
            deltas = method.plan(model)
            taken_by_heads = record.any_head | head.names
            opened = [n for n in method.trains(model) if n not in taken_by_heads]
            check_trainable(model, [*opened, *head.names])
            changed = [site for site, _ in deltas if site.place.port is Port.WEIGHT]
            if changed:
                check_read(model, [f"{site.path}.{site.place.x}" for site in changed])
            if first:
                for n, parameter in parameters.items():
                    parameter.requires_grad_(n in record.head)
            for site, delta in deltas:
                delta.passes = record.passes
                plant(site, name, delta)
        for n in opened:
            parameters[n].requires_grad_(True)
        ours = sum(p.numel() for _, d in deltas for p in d.parameters() if p.requires_grad)
        if not (ours or opened or (method.needs_head and head.names)):
            raise BadValue(
                f"{method.title} has nothing to train in this {type(model).__name__}. "
                + method.nothing_to_train
            )
    except BaseException:
        for _, host, child, _delta in planted(model, name):
            uproot(host, child)
        for n, parameter in parameters.items():
            parameter.requires_grad_(flags[n])
        _set_attention(model, attention)
        raise
    record.keep(model, [*opened, *record.head])
    for n in opened:
        if (now := record.value_now(n)) is None:
            record.values.setdefault(n, []).append(Value([name]))
        else:
            now.users.append(name)
    record.methods[name] = copy.copy(method)  # so that it knows its name: see attached_as
    record.in_use[name] = 1.0
    record.show(model, head)
    head.users.append(name)
    model.pftlab = record
    settle(model, record)
    if first:
        _say_what_is_new(model, record)


def check_ready(model: Any) -> None:
    """Refuse a model to which nothing can be attached just now.

    Raises:
        BadValue: it is no transformers model.
        Refused: what is attached is disabled; or the model was wrapped or spread out before
            anything was attached to it: parameters have other names then, values are elsewhere, or
            hooks are no longer looked at.
    """
    config_of(model)
    if record := getattr(model, "pftlab", None):
        check_enabled(record, "Attaching")
        return
    kind = type(model).__name__
    for path, module in model.named_modules():
        where = f"its {path}" if path else "it"
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            raise Refused(
                f"This {kind} is compiled, and what is attached to {where} now would not be seen. "
                "Attach first, then compile: torch.compile(method.attach(model))."
            )
        if is_sharded(module):
            raise Refused(
                f"This {kind} is sharded: {where} holds a part of its parameters. Attach first, "
                "then shard."
            )
        if any(c.__module__.partition(".")[0] == "peft" for c in type(module).__mro__):
            raise Refused(
                f"Hugging Face PEFT has put modules of its own into this {kind} ({where} is a "
                f"{type(module).__name__}). Load the plain base; pftlab.load attaches what PEFT "
                "saved."
            )
        hook = getattr(module, "_hf_hook", None)
        if any(getattr(h, "offload", False) for h in (hook, *getattr(hook, "hooks", ()))):
            raise Refused(
                f"This {kind} is offloaded: the values of {where} are not on the device that "
                "computes. Load it on one device, if need be in fewer bits (QLoRA), or attach "
                "first."
            )
    devices = {p.is_meta for p in model.parameters()}
    if len(devices) > 1:
        missing = next(n for n, p in model.named_parameters() if p.is_meta)
        raise Refused(f"Of this {kind}, {missing} has no values (device 'meta'). Load all of it.")


def _say_what_is_new(model: Any, record: Record) -> None:
    """Warn of rows of the embedding that came after loading, if nothing trains them."""
    info, table = getattr(model, "pftlab_base", None), model.get_input_embeddings()
    known = getattr(info, "words", None)
    if known is None or table is None or len(table.weight) <= known or table.weight.requires_grad:
        return
    name = next(n for n, p in model.named_parameters() if p is table.weight)
    warnings.warn(
        f"{len(table.weight) - known} rows of {name} are not in the checkpoint of the base: new "
        "tokens, perhaps. They stay as they are, and `save` does not keep them: `load` will ask "
        f"for a base with these very rows. To train and save the table, attach with head=({name!r},"
        " …), together with the head that the task has.",
        stacklevel=4,
    )


def _check_name(name: str, record: Record) -> None:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise BadValue(
            f"{name!r} cannot be a name: use letters, digits and underscores, a letter first."
        )
    if name in record.methods:
        raise BadValue(
            f"{name!r} is attached already. Detach it first, or attach this one under "
            f"another name: attach(model, name={name + '_2'!r})."
        )


def _check_head(model: nn.Module, record: Record, head: Mapping[str, Tensor]) -> None:
    """Refuse a file's head that has no place in this model.

    Raises:
        BadValue: a parameter is missing, of another shape, or trained by another attachment.
    """
    parameters = dict(model.named_parameters())
    for n, value in head.items():
        if n not in parameters:
            raise BadValue(f"The head {n} is in the file and not in this {type(model).__name__}.")
        if value.shape != parameters[n].shape:
            raise BadValue(
                f"The head {n} has shape {tuple(value.shape)} in the file and "
                f"{tuple(parameters[n].shape)} here. Load the base with the same num_labels."
            )
        if users := record.trained_by.get(n):
            raise BadValue(
                f"The file trains {n} as its head, and {users[0]!r} has trained it already. Detach "
                f"{users[0]!r} first, or load into the plain base."
            )


def _set_attention(model: Any, implementation: str | None) -> None:
    if implementation is not None and model.config._attn_implementation != implementation:
        model.set_attn_implementation(implementation)
