"""Which of the attached adapters act: for the whole model, or for each row of a batch.

    use(model, "french")                     this one alone, from now on
    use(model, ["french", "polite"])         both, composed, as if they alone were attached
    use(model, {"a": 0.7, "b": 0.3})         the weighted sum of what they add
    use(model, None)                         none: the base, bit for bit

    with rows(model, ["french", "german", None]):
        model(**batch)                       of three rows, each with its own adapter

What is attached or loaded is in use at once, together with what was in use. What is in use is
trained, with its head; what is set aside is frozen, keeps its values and its head, and takes no
time in a pass. Optimisers hold parameters, so make a new one after `use`.

`use` speaks for the model and so for all threads. `rows` speaks for the passes of the thread that
calls it: threads of a server may compute with different adapters at once. Whatever changes what is
attached or in use waits until no other thread is inside a block of `rows`, and lets none in
meanwhile. Passes outside such blocks are not waited for.

In `rows` the adapters of one method and one shape are computed in one grouped product, however
many they are: their tensors are stacked, a row takes its own, and one batched product serves all.
The code of the method itself runs, mapped over the rows (`torch.vmap`), so that no method says it
twice.

Not offered, and why:

* weights for what does not add to a hidden state: (IA)³ multiplies, a prompt takes part in the
  attention, DoRA rescales the whole weight; half of them means nothing definite;
* several adapters for one row: a row has one, or none; compose by `use` for all rows alike;
* rows with methods that change the base's own weights (sparse methods, BitFit, full fine-tuning):
  each would need a copy of them, and there is one in the model; `use` switches them;
* rows with methods that tell words from padding (LoReFT, UniPELT): they look at the whole batch;
* rows in DataParallel, which splits the batch, and in a single compiled graph, which has one route
  for ever: torch.compile leaves the sites out, and with fullgraph=True it refuses;
* merging some of the adapters into the weights while others stay beside them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .attachment import settle
from .delta import PREFIX, Delta, planted
from .errors import BadValue, Refused, UnknownName
from .grouped import Rows, hook_heads, tensors_of, with_values
from .places import Port, config_of
from .ports.attention import KeysValues, listen
from .ports.module import apply
from .ports.sequence import PositionShift, Prompt
from .ports.weight import WeightDelta
from .record import Record, check_enabled, enabled_record, record_of

Chosen = str | Iterable[str] | Mapping[str, float] | None
#: name of an attachment → its deltas, each with the path of its host and its name there
Found = dict[str, list[tuple[str, str, Delta]]]


def use(model: nn.Module, names: Chosen) -> nn.Module:
    """Choose which of the attached adapters act, are trained and give the head.

    Args:
        model: with something attached; changed in place and returned.
        names: a name; several, which are composed as if they alone were attached; None or none of
            them: the base bit for bit, with its head as it was before training. A mapping from
            names to weights w: where several add to one hidden state, h + Σ w · (delta(x, h) − h).
            For adapters of the LoRA family that is the base with the weight W + Σ w ΔW.

    The head that is in the model is that of the last name.

    Raises:
        Refused: nothing is attached, it is disabled or merged, or weights are asked for where they
            mean nothing.
        UnknownName: a name is not attached.
        BadValue: a weight is no finite number or 0, or two of the names bring different values
            of one parameter of the base.
    """
    record = enabled_record(model, "Choosing what acts")
    chosen = _weights(record, names)
    for n, values in record.values.items():
        both = [value.users for value in values if set(value.users) & chosen.keys()]
        if len(both) > 1:
            raise BadValue(
                f"{both[0][0]!r} and {both[1][0]!r} have each a value of {n}, and a parameter has "
                "one value at a time. Use one of them."
            )
    for name, weight in chosen.items():
        if weight != 1:
            _check_adds(model, record, name)
    with record.passes.alone():
        put_in_use(model, record, chosen)
    return model


def in_use(model: nn.Module) -> dict[str, float]:
    """The attached adapters that act: name → weight, in the order in which they were named.

    Raises:
        Refused: nothing is attached.
    """
    return dict(record_of(model).in_use)


@contextmanager
def rows(
    model: nn.Module, names: str | Sequence[str | None] | None, copies: int = 1
) -> Iterator[nn.Module]:
    """Inside the block each row of a batch is computed with an adapter of its own, and its head.

    Only the passes of this thread are meant. What `use` has chosen does not count inside.

    Args:
        model: with adapters attached, whether in use or set aside.
        names: for each row of the batch the name of its adapter; None: the base and its own head.
            One name, or None, is for all rows, however many.
        copies: as how many rows `generate` computes each one: `num_beams`, or when it draws
            `num_return_sequences`.

    Raises:
        Refused: an adapter cannot share a batch (see above), or nothing is attached.
        UnknownName: a name is not attached.
        BadValue: there are no names, or `copies` is less than 1.

    A pass whose batch has another number of rows raises BadValue.
    """
    record = record_of(model)
    if record.disabled or record.merged is not None:
        check_enabled(record, "Choosing adapters for rows")
    for_all = names is None or isinstance(names, str)
    listed: tuple[str | None, ...] = (names,) if for_all else tuple(names)  # type: ignore[assignment, arg-type]
    if not listed or copies < 1:
        raise BadValue(
            f"{len(listed)} names and copies={copies}: give a name, or None, for each row of the "
            "batch, and at least 1 copy."
        )
    distinct = list(dict.fromkeys(n for n in listed if n is not None))
    for name in distinct:
        _check_attached(record, name)
    found: Found = {name: [] for name in record.methods}
    for path, _, child, delta in planted(model):
        found[delta.method_name].append((path, child, delta))
    for name in distinct:
        _check_mixes(record, name, found)
    if any(isinstance(delta, KeysValues) for name in distinct for *_, delta in found[name]):
        listen(model)
    groups = _groups(record, distinct, found)
    _check_prompts(model, groups, listed, found)
    choice = Rows(listed, None if for_all else copies, groups)
    choice.heads = _heads(model, record, listed)
    with record.passes.inside(choice):
        yield model


def _weights(record: Record, names: Chosen) -> dict[str, float]:
    """The weights by name, checked."""
    if names is None:
        return {}
    if isinstance(names, str):
        names = [names]
    chosen = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 1.0)
    for name, weight in chosen.items():
        _check_attached(record, name)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or weight == 0 or not -float("inf") < weight < float("inf"):
            raise BadValue(
                f"{name!r} has the weight {weight!r}: give a finite number that is not 0, or leave "
                "the name out."
            )
    return {name: float(weight) for name, weight in chosen.items()}


def _check_attached(record: Record, name: Any) -> None:
    if name not in record.methods:
        raise UnknownName("attached adapter", name, record.methods)


def put_in_use(model: nn.Module, record: Record, chosen: dict[str, float]) -> None:
    """Let exactly these attachments act, with their weights; `use` has checked them."""
    for n in record.values:
        record.show_value(model, n, chosen)
    record.show(model, record.wanted_head(chosen))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for path, _, child, delta in planted(model):
        name = delta.method_name
        delta.weight = chosen.get(name, 0.0)
        own = [f"{path}.{child}.{n}".lstrip(".") for n, _ in delta.named_parameters()]
        if name not in chosen and name in record.in_use:
            record.idle[name] = (
                *record.idle.get(name, ()),
                *(n for n in own if parameters[n].requires_grad),
            )
    for name in record.in_use.keys() - chosen.keys():
        for n in record.idle.get(name, ()):
            parameters[n].requires_grad_(False)
    for name in chosen.keys() - record.in_use.keys():
        for n in record.idle.pop(name, ()):
            parameters[n].requires_grad_(True)
    record.in_use = chosen
    settle(model, record)


@torch.no_grad()
def _check_adds(model: nn.Module, record: Record, name: str) -> None:
    """Refuse a weight for what does not add to h something in which h has no part.

    A copy of each kind of delta, with random values, is given two h with one x.

    Raises:
        Refused: it changes parameters, or something else than a hidden state, or rescales h.
    """
    why = ""
    found = list(planted(model, name))
    if _changes_parameters(record, name):
        why = "it changes parameters of the base"
    elif not all(_is_hidden(delta) for *_, delta in found):
        why = "it does not add to a hidden state"
    else:
        kinds = {type(delta): (path, delta) for path, _, _, delta in found}
        depending = [path for path, delta in kinds.values() if not _adds(delta)]
        why = f"what it does at {depending[0]} depends on what is there" if depending else ""
    if why:
        raise Refused(
            f"{record.methods[name].title} ({name!r}) cannot have a weight: {why}. Use it whole, "
            "or set it aside."
        )


def _adds(delta: Delta) -> bool:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    own = {
        n: 0.3 * drawn(*t.shape).to(t) for n, t in delta.named_parameters(remove_duplicate=False)
    }
    moved = with_values(delta, own).eval()
    like = next(delta.parameters())
    d_in, d_out = delta.widths
    x, one, other = (drawn(1, 3, d).to(like) for d in (d_in or d_out, d_out, d_out))
    if delta.reads_h:
        return False
    added, again = apply(moved, x, one) - one, apply(moved, x, other) - other
    return torch.allclose(added, again, rtol=1e-3, atol=1e-4 * float(added.abs().max() + 1))


def _check_mixes(record: Record, name: str, found: Found) -> None:
    """Refuse, for the rows of a batch, what they cannot have each for itself.

    Raises:
        Refused: it changes parameters, or looks at the whole batch.
    """
    why = ""
    if _changes_parameters(record, name):
        why = "it changes parameters of the base, which all rows share: pftlab.use switches them"
    for *_, delta in found[name]:
        if isinstance(delta, WeightDelta):
            why = "it changes weights of the base, which all rows share: pftlab.use switches them"
        elif not (_is_hidden(delta) or isinstance(delta, KeysValues | Prompt | PositionShift)):
            why = why or f"its {type(delta).__name__} looks at the whole batch"
    if why:
        raise Refused(
            f"{record.methods[name].title} ({name!r}) cannot be the adapter of single rows: {why}."
        )


def _changes_parameters(record: Record, name: str) -> bool:
    return any(name in users for users in record.trained_by.values())


def _is_hidden(delta: Delta) -> bool:
    return Port.OUTPUT in delta.ports


def _groups(record: Record, names: list[str], found: Found) -> dict[str, tuple[str, ...]]:
    """Which of `names` are computed together: the name that was attached first → all."""
    kinds: list[tuple[Any, list[str]]] = []
    for name in sorted(names, key=list(record.methods).index):
        shapes = [
            (path, child.removeprefix(PREFIX + name), n, tensor.shape, tensor.dtype)
            for path, child, delta in found[name]
            for n, tensor in tensors_of(delta).items()
        ]
        kind = record.methods[name], shapes
        for known, members in kinds:
            if known == kind:
                members.append(name)
                break
        else:
            kinds.append((kind, [name]))
    return {members[0]: tuple(members) for _, members in kinds}


def _check_prompts(
    model: nn.Module,
    groups: dict[str, tuple[str, ...]],
    names: Sequence[str | None],
    found: Found,
) -> None:
    """Refuse prompts in whose places other rows would have nothing, where that is felt.

    Raises:
        Refused: words are told apart by place alone, or a classifier reads a place of the prompt.
    """
    prompts = {
        leader: delta
        for leader in groups
        for *_, delta in found[leader]
        if isinstance(delta, Prompt)
    }
    with_prompt = {name for leader in prompts for name in groups[leader]}
    others = not set(names) <= with_prompt or len(prompts) > 1
    why = ""
    for prompt in prompts.values():
        counts_itself = "position_ids" not in prompt.names
        by_distance = counts_itself or _sees_distances(model)
        if others and prompt.is_read:
            why = "the classifier reads the first vector of a prompt. Give position=1"
        elif others and counts_itself and prompt.limit is not None:
            why = "this model counts positions by itself, and those of a prompt with them"
        elif others and by_distance and (len(prompts) > 1 or prompt.position != 0):
            why = "this model sees how far words are from each other. Give position=0"
    if len({prompt.position for prompt in prompts.values()}) > 1:
        why = "their prompts stand at different positions"
    if why:
        raise Refused(
            f"{', '.join(map(repr, prompts))} cannot share this batch with what has other prompts, "
            f"or none: {why}. Or compute one batch for each."
        )


def _sees_distances(model: nn.Module) -> bool:
    """Whether attention asks how many columns lie between two words, whatever their positions."""
    config = config_of(model)
    windows = ("sliding_window", "local_attention", "relative_attention")
    return any(getattr(config, name, None) for name in windows)


def _heads(
    model: nn.Module, record: Record, names: Iterable[str | None]
) -> list[tuple[dict[str, Tensor], frozenset[str | None]]]:
    """The heads of `names` that are not in the model: values, and whose they are."""
    base = {n: record.originals[n] for n in record.any_head}
    found: dict[int, tuple[dict[str, Tensor], set[str | None]]] = {}
    for name in names:
        head = None if name is None else record.head_of(name)
        if head is not record.shown and base:
            values = base | (head.values if head else {})
            found.setdefault(id(head), (values, set()))[1].add(name)
    with record.passes.preparing:
        if found and record.hooked != record.any_head:
            for hook in record.head_hooks:
                hook.remove()
            record.head_hooks[:] = hook_heads(model, record.any_head, record.passes)
            record.hooked = record.any_head
    return [(values, frozenset(users)) for values, users in found.values()]
