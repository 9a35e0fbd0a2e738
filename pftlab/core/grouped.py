"""One pass, a batch whose rows have different adapters: who rewrites which rows, in one product.

Attachments of one method and one shape make a *group*. At each of its sites the delta that was
planted first acts for the whole group: it takes the rows that are theirs, stacks the tensors of all
its members, gives each row those of its own adapter, and runs the method's own `forward` mapped
over the rows. `torch.vmap` makes batched products of its products. Rows of other groups, and rows
without an adapter, pass by untouched.

What `rows` has chosen lies in a `Passes`, which each thread has for itself.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from .delta import PREFIX, Delta
from .errors import BadValue, Refused
from .handover import Passes

LARGE = 2**20  # numbers in a delta, from which on they are not copied for each row

Names = tuple[str | None, ...]


class Rows:
    """What a block of `rows` has chosen.

    Args:
        names: for each row the name of its adapter or None; a single one for all rows, if
            `copies` is None.
        copies: as how many rows each of them may come in a pass, beside one.
        groups: names that are computed together, by the one of them that was attached first.
    """

    def __init__(self, names: Names, copies: int | None, groups: dict[str, tuple[str, ...]]):
        self.names, self.copies, self.groups = names, copies, groups
        #: values of a head that is not in the model, and the names of those whose head it is
        self.heads: list[tuple[dict[str, Tensor], frozenset[str | None]]] = []
        self._found: dict[Any, Any] = {}

    def leads(self, delta: Delta) -> bool:
        """Whether `delta` acts for its group."""
        if vars(delta).get("_is_replica"):
            raise Refused("DataParallel splits a batch, and with it its rows: use one device.")
        return delta.method_name in self.groups

    def part(self, delta: Delta, child: str, batch: Tensor) -> "Part | None":
        """The group of `delta`, which is `child` of its host, with its rows of `batch` (B, …).

        None: there are none, for the members leave this site out.

        Raises:
            BadValue: the batch has another number of rows than names were given.
        """
        site = child.removeprefix(PREFIX + delta.method_name)
        members: dict[str | None, Delta] = {}
        for name in self.groups[delta.method_name]:
            member = delta.host._modules.get(f"{PREFIX}{name}{site}")
            if isinstance(member, Delta) and member.active:
                members[name] = member
        if not members:
            return None
        where = self.where(tuple(members), batch)
        return Part(list(members.values()), *where) if len(where[2]) else None

    def where(self, names: Names, batch: Tensor) -> tuple[Tensor | None, list[Tensor], Tensor]:
        """The rows (R,) that have one of `names`, None for all; those of each; which each has."""
        key = names, len(batch), batch.device
        if key not in self._found:
            listed = self._listed(len(batch))
            mine = [row for row, name in enumerate(listed) if name in names]
            which = [names.index(listed[row]) for row in mine]
            of_each = [[i for i, w in enumerate(which) if w == k] for k in range(len(names))]
            new = partial(torch.tensor, dtype=torch.long, device=batch.device)
            rows = None if len(mine) == len(batch) else new(mine)
            self._found[key] = rows, [new(each) for each in of_each], new(which)
        return self._found[key]

    def values_on(self, number: int, n: str, like: Tensor) -> Tensor:
        """The value of the parameter `n` in the head of this number, as `like` is."""
        key = number, n, like.device, like.dtype
        if key not in self._found:
            self._found[key] = self.heads[number][0][n].to(like)
        return self._found[key]

    def _listed(self, size: int) -> Names:
        if self.copies is None:
            return self.names * size
        if size == 1 and len(self.names) > 1:
            raise Refused(
                "The rows of a batch cannot have adapters of their own here: this model sends "
                "something through an adapted module that all rows share, positions perhaps. Give "
                "one name for all rows, or choose other sites."
            )
        if size not in (len(self.names), len(self.names) * self.copies):
            raise BadValue(
                f"Adapters are chosen for {len(self.names)} rows, and what passes here has {size}. "
                "Give a name, or None, for each row of the batch; if `generate` computes a row "
                "several times, rows(…, copies=num_beams)."
            )
        return tuple(name for name in self.names for _ in range(size // len(self.names)))


@dataclass(frozen=True)
class Part:
    """A group at one site, and its rows.

    Attributes:
        deltas: the members.
        rows: (R,) of the batch that are theirs; None: all.
        of_each: of the R rows, those of each member.
        which: (R,) the member that each of them has.
    """

    deltas: list[Delta]
    rows: Tensor | None
    of_each: list[Tensor]
    which: Tensor

    def take(self, tensor: Tensor) -> Tensor:
        """The rows (R, …) of `tensor` (B, …)."""
        return tensor if self.rows is None else tensor.index_select(0, self.rows)

    def put(self, tensor: Tensor, new: Tensor) -> Tensor:
        """`tensor` (B, …) with `new` (R, …) in the place of these rows."""
        return new if self.rows is None else tensor.index_copy(0, self.rows, new)

    def members(self, like: Tensor) -> Tensor | None:
        """True (B, 1) where a row of `like` (B, …) belongs to the group; None: all do."""
        if self.rows is None:
            return None
        none = torch.zeros(len(like), 1, dtype=torch.bool, device=like.device)
        return none.index_fill(0, self.rows, True)

    def compute(self, call: Callable[..., Any], *tensors: Tensor, mapped: bool = True) -> Any:
        """call(delta, *rows) with each row's own delta: of `tensors` (B, …), results (R, …).

        Args:
            call: given a delta and the rows of some batch; each row's result is its own.
            tensors: of which it gets the rows.
            mapped: whether it may be mapped over the rows; else it is called once for each member.
        """
        taken = [self.take(tensor) for tensor in tensors]
        if len(self.deltas) == 1:
            return call(self.deltas[0], *taken)
        if mapped and _is_small(self.deltas[0]):
            return self._mapped(call, *taken)
        return self._one_by_one(call, *taken)

    def _mapped(self, call: Callable[..., Any], *taken: Tensor) -> Any:
        first, all_values = self.deltas[0], [tensors_of(delta) for delta in self.deltas]
        values: dict[str, Tensor] = {}
        axes: dict[str, int | None] = {}
        for n, tensor in all_values[0].items():
            each = [own[n] for own in all_values]
            if all(other is tensor for other in each):
                axes[n], values[n] = None, tensor
            else:
                axes[n] = 0
                values[n] = torch.stack(each).index_select(0, self.which)

        def one(own: dict[str, Tensor], *row: Tensor) -> Any:
            found = call(with_values(first, own), *(t[None] for t in row))
            return tree_map(lambda t: t.squeeze(0), found)

        over = (axes, *(0 for _ in taken))
        return torch.vmap(one, in_dims=over, randomness="different")(values, *taken)

    def _one_by_one(self, call: Callable[..., Any], *taken: Tensor) -> Any:
        results = [
            call(delta, *(t.index_select(0, mine) for t in taken))
            for delta, mine in zip(self.deltas, self.of_each, strict=True)
            if len(mine)
        ]
        back = torch.cat(self.of_each).argsort()
        return tree_map(lambda *parts: torch.cat(parts).index_select(0, back), *results)


def tensors_of(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Name → tensor of what a file would hold of `module`, shared ones under all their names.

    Buffers that no file holds follow from the hyper-parameters, and members of a group agree there.
    """
    own: dict[str, Tensor] = {}
    for n, parameter in module._parameters.items():
        if parameter is not None:
            own[prefix + n] = parameter
    for n, buffer in module._buffers.items():
        if buffer is not None and n not in module._non_persistent_buffers_set:
            own[prefix + n] = buffer
    for n, child in module._modules.items():
        if child is not None:
            own |= tensors_of(child, f"{prefix}{n}.")
    return own


def with_values(module: nn.Module, values: dict[str, Tensor], prefix: str = "") -> Any:
    """A copy of `module` that computes with `values`; what it has no value for, both share.

    The module itself is not touched for a moment, for other threads may be computing with it.
    """
    copy = module.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    for kind in ("_parameters", "_buffers"):
        own = getattr(module, kind)
        copy.__dict__[kind] = {n: values.get(prefix + n, t) for n, t in own.items()}
    copy.__dict__["_modules"] = {
        n: None if child is None else with_values(child, values, f"{prefix}{n}.")
        for n, child in module._modules.items()
    }
    return copy


def _is_small(delta: Delta) -> bool:
    """Whether a delta's numbers may be copied for each row, and it can be mapped at all."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in delta.modules())
    return not recurrent and sum(t.numel() for t in tensors_of(delta).values()) <= LARGE


def hook_heads(model: nn.Module, names: Collection[str], passes: Passes) -> list[RemovableHandle]:
    """Let every module that holds one of these parameters compute each row with its own head.

    Raises:
        Refused: an adapter rewrites what such a module returns.
    """
    wanted = {id(model.get_parameter(n)): n for n in names}
    hooks = []
    for path, module in model.named_modules():
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        leaves = {leaf: wanted[id(p)] for leaf, p in own if id(p) in wanted}
        if not leaves:
            continue
        if any(isinstance(child, Delta) for child in module.children()):
            raise Refused(
                f"The rows of a batch cannot have heads of their own here: {path} belongs to the "
                "head, and an adapter rewrites what it returns."
            )
        rewrite = partial(_rewrite_head, leaves, passes)
        hooks.append(module.register_forward_hook(rewrite, with_kwargs=True))
    return hooks


def _rewrite_head(
    leaves: dict[str, str],
    passes: Passes,
    module: nn.Module,
    args: tuple,
    kwargs: dict,
    output: Any,
) -> Any:
    rows: Rows | None = passes.look()
    for number, (values, users) in enumerate(rows.heads if rows else ()):
        mine = {
            leaf: rows.values_on(number, n, module._parameters[leaf])  # type: ignore[union-attr, arg-type]
            for leaf, n in leaves.items()
            if n in values
        }
        where, _, which = rows.where(tuple(users), output)  # type: ignore[union-attr]
        if not mine or not len(which):
            continue
        part = Part([], where, [], which)
        given, named = tree_map(
            lambda t, part=part: part.take(t) if isinstance(t, Tensor) else t, (args, kwargs)
        )
        output = part.put(output, with_values(module, mine).forward(*given, **named))
    return output
