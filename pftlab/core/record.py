"""What attaching changed in a model, kept in the model as `model.pftlab`.

The record is what `detach` and `disabled` bring the base back from, bit for bit. It also keeps
what has one value at a time in the model and another for each attachment: the heads, for every
adapter that is loaded brings the head that it was trained with, and base parameters that methods
train.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import Refused
from .handover import Passes
from .heads import Head, label_names, write_labels
from .places import config_of
from .ports.parameters import put, taken

if TYPE_CHECKING:
    from .method import Method


@dataclass
class Value:
    """A value of a base parameter, and the attachments that train it together.

    Attributes:
        users: names of attachments.
        kept: the value, in host memory, while another one is in the model.
    """

    users: list[str]
    kept: Tensor | None = None


@dataclass
class Record:
    """What attaching changed in a model.

    Attributes:
        methods: name → method, in the order of attachment.
        in_use: name → weight, of the attachments that act; the others are set aside.
        required_grad: parameter name → its flag before the first attachment.
        heads: the base's own head first, then those that came with files or later.
        shown: the one of them that is in the model; None: the base's, as it was before training.
        originals: name → value before training, in host memory, of every base parameter that is
            trained (those of all heads included).
        values: name of a base parameter that methods train → its values, one at most in the model.
        idle: name of an attachment that is set aside → its parameters that are trained in use.
        attention: the model's attention implementation before the first attachment.
        labels: what the head's outputs meant before the first attachment.
        disabled: how many blocks `with disabled(model)` are open.
        merged: name → value before it, in host memory, of each parameter that a delta was merged
            into; None: the model is not merged, or for good.
        passes: what `rows` has chosen in each thread.
        head_hooks: by which rows have heads of their own; registered when first needed.
        hooked: names of the parameters that they know.
        guard: of a model in which a method acts in the steps of training; see `ports.steps`.
        announced: whether the loop that trains it just now calls the methods' callbacks.
    """

    methods: dict[str, "Method"] = field(default_factory=dict)
    in_use: dict[str, float] = field(default_factory=dict)
    required_grad: dict[str, bool] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    shown: Head | None = None
    originals: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, list[Value]] = field(default_factory=dict)
    idle: dict[str, tuple[str, ...]] = field(default_factory=dict)
    attention: str | None = None
    labels: tuple[str, ...] = ()
    disabled: int = 0
    merged: dict[str, Tensor] | None = None
    passes: Passes = field(default_factory=Passes)
    head_hooks: list[RemovableHandle] = field(default_factory=list)
    hooked: frozenset[str] = frozenset()
    guard: RemovableHandle | None = None
    announced: bool = False

    @property
    def acting(self) -> dict[str, "Method"]:
        """The methods in use: name → method, in the order of attachment."""
        return {name: method for name, method in self.methods.items() if name in self.in_use}

    @property
    def head(self) -> frozenset[str]:
        """Names of the parameters of the head that is in the model."""
        return (self.shown or self.heads[0]).names

    @property
    def any_head(self) -> frozenset[str]:
        """Names of the parameters of all heads."""
        return frozenset().union(*(head.names for head in self.heads))

    @property
    def trained_by(self) -> dict[str, list[str]]:
        """Name of a base parameter → names of the methods that train it, whichever is in use."""
        return {
            n: [u for value in values for u in value.users] for n, values in self.values.items()
        }

    @property
    def trained_now(self) -> dict[str, list[str]]:
        """The same of the values that are in the model."""
        now = {n: self.value_now(n) for n in self.values}
        return {n: value.users for n, value in now.items() if value is not None}

    def value_now(self, n: str) -> Value | None:
        """The value of the base parameter `n` that is in the model; None: it is the base's."""
        return next((value for value in self.values.get(n, ()) if value.kept is None), None)

    def head_of(self, name: str) -> Head:
        """The head that the attachment `name` uses."""
        return next(head for head in self.heads if name in head.users)

    def keep(self, model: nn.Module, names: Iterable[str]) -> None:
        """Remember what these base parameters are before anything trains them."""
        self.originals |= taken(model, [n for n in names if n not in self.originals])

    def show(self, model: nn.Module, head: Head | None) -> None:
        """Let `head`, which may be new, be the one in the model; None: the base's, untrained."""
        if head is self.shown:
            return
        if self.shown is not None:
            self.shown.values = taken(model, self.shown.names)
            self.shown.labels = label_names(model)
        if head is not None and not any(head is known for known in self.heads):
            self.keep(model, head.names)
            self.heads.append(head)
        names, values = (head.names, head.values) if head else (frozenset(), {})
        put(model, {n: self.originals[n] for n in self.any_head} | values)
        for n in self.any_head:
            model.get_parameter(n).requires_grad_(n in names)
        write_labels(model, (head.labels if head else ()) or self.labels)
        if head is not None:
            head.values = {}
        self.shown = head

    def show_value(self, model: nn.Module, n: str, names: Container[str]) -> None:
        """Let the base parameter `n` have the value that one of the attachments `names` trains."""
        now = self.value_now(n)
        new = next((v for v in self.values[n] if any(u in names for u in v.users)), None)
        if new is now:
            return
        if now is not None:
            now.kept = taken(model, [n])[n]
        put(model, {n: self.originals[n] if new is None else new.kept})  # type: ignore[dict-item]
        if new is not None:
            new.kept = None
        model.get_parameter(n).requires_grad_(new is not None)

    def forget(self, model: nn.Module, name: str) -> None:
        """Let the attachment `name` go, with its values and a head that nobody else uses."""
        del self.methods[name]
        self.in_use.pop(name, None)
        self.idle.pop(name, None)
        for n in list(self.values):
            for value in self.values[n]:
                if name in value.users:
                    value.users.remove(name)
            self.show_value(model, n, self.in_use)
            self.values[n] = [value for value in self.values[n] if value.users]
            if not self.values[n]:
                del self.values[n], self.originals[n]
        for head in self.heads:
            if name in head.users:
                head.users.remove(name)
        self.show(model, self.wanted_head(self.in_use))
        own, before = self.heads[0], self.any_head
        if self.shown is not own and not own.users:  # what was trained in it is gone
            own.values, own.labels = {n: self.originals[n] for n in own.names}, self.labels
        self.heads = [own, *(head for head in self.heads[1:] if head.users)]
        for n in before - self.any_head:
            del self.originals[n]

    def wanted_head(self, names: Iterable[str]) -> Head | None:
        """The head of the last of these attachments; None: there are none."""
        heads = [self.head_of(name) for name in names]
        return heads[-1] if heads else None


def attached(model: nn.Module) -> dict[str, "Method"]:
    """The methods attached to `model`: name → method, in the order of attachment."""
    record = getattr(model, "pftlab", None)
    return dict(record.methods) if record else {}


def record_of(model: nn.Module) -> Record:
    """The record of a model with something attached.

    Raises:
        Refused: nothing is attached.
    """
    record = getattr(model, "pftlab", None)
    if not record:
        raise Refused(
            f"Nothing is attached to this {type(model).__name__}. "
            "Attach a method first, for instance LoRA().attach(model)."
        )
    return record


def enabled_record(model: nn.Module, action: str) -> Record:
    """The record of a model that is about to be changed or written down.

    Raises:
        Refused: nothing is attached, or what is attached is disabled.
    """
    record = record_of(model)
    check_enabled(record, action)
    return record


def check_enabled(record: Record, action: str) -> None:
    """Refuse to act on a model that, for a while, is not what its record says.

    Raises:
        Refused: `action` was called inside `with disabled(model)` or `with rows(model, …)`, or the
            model is merged.
    """
    if record.merged is not None:
        raise Refused(
            f"{action} is for a model whose deltas are beside its weights, and here they are "
            "merged into them. Take them out first: pftlab.unmerge(model)."
        )
    if record.passes.look() is not None:
        raise Refused(
            f"{action} inside `with rows(model, …)` would change what the rows of the batch have "
            "chosen. Leave the block first."
        )
    if record.disabled:
        raise Refused(
            f"{action} inside `with disabled(model)` would act on the base alone: what was "
            "trained is set aside there. Leave the block first."
        )


def is_sharded(module: nn.Module) -> bool:
    """Whether PyTorch's FSDP has divided the parameters of `module` among processes."""
    names = {c.__name__ for c in type(module).__mro__}
    return bool(names & {"FullyShardedDataParallel", "FSDPModule"})


def check_whole(model: nn.Module, action: str) -> None:
    """Refuse to read or change values of which this process has a part.

    Raises:
        Refused: the model is sharded.
    """
    if any(map(is_sharded, model.modules())):
        raise Refused(
            f"{action} needs whole tensors, and this {type(model).__name__} is sharded: each "
            "process has a part of them. Put them together in a model that is not, with the same "
            "attached: plain.load_state_dict(get_model_state_dict(model, "
            "options=StateDictOptions(full_state_dict=True))), both from "
            "torch.distributed.checkpoint.state_dict."
        )


def new_record(model: nn.Module, head: frozenset[str]) -> Record:
    """The record of a model before its first attachment, with the names of its head."""
    own = Head(head)
    return Record(
        attention=config_of(model)._attn_implementation,
        required_grad={n: p.requires_grad for n, p in model.named_parameters()},
        heads=[own],
        shown=own,
        labels=label_names(model),
    )
