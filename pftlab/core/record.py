"""What attaching changed in a model, kept in the model as `model.pftlab`.

The record is what `detach` and `disabled` bring the base back from, bit for bit. It also keeps
the heads: every adapter that is loaded brings the head that it was trained with, and one head at
a time is in the model.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import Refused
from .heads import Head, label_names, write_labels
from .places import config_of
from .ports.parameters import put, taken

if TYPE_CHECKING:
    from .method import Method


@dataclass
class Record:
    """What attaching changed in a model.

    Attributes:
        methods: name → method, in the order of attachment.
        required_grad: parameter name → its flag before the first attachment.
        heads: the base's own head first, then those of the files that were loaded. The last one
            is in the model; each of the others keeps its values.
        originals: name → value before training, in host memory, of every base parameter that is
            trained (those of all heads included).
        trained_by: name of a base parameter → names of the methods that train it.
        attention: the model's attention implementation before the first attachment.
        labels: what the head's outputs meant before the first attachment.
        disabled: how many blocks `with disabled(model)` are open.
        guard: of a model in which a method acts in the steps of training; see `ports.steps`.
        announced: whether the loop that trains it just now calls the methods' callbacks.
    """

    methods: dict[str, "Method"] = field(default_factory=dict)
    required_grad: dict[str, bool] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    originals: dict[str, Tensor] = field(default_factory=dict)
    trained_by: dict[str, list[str]] = field(default_factory=dict)
    attention: str | None = None
    labels: tuple[str, ...] = ()
    disabled: int = 0
    guard: RemovableHandle | None = None
    announced: bool = False

    @property
    def head(self) -> frozenset[str]:
        """Names of the parameters that are trained as the head that is in the model."""
        return self.heads[-1].names

    @property
    def any_head(self) -> frozenset[str]:
        """Names of the parameters of all heads."""
        return frozenset().union(*(head.names for head in self.heads))

    def head_of(self, name: str) -> Head:
        """The head that the attachment `name` uses."""
        return next(head for head in self.heads if name in head.users)

    def keep(self, model: nn.Module, names: Iterable[str]) -> None:
        """Remember what these base parameters are before anything trains them."""
        self.originals |= taken(model, [n for n in names if n not in self.originals])

    def begin_head(self, model: nn.Module, head: Head) -> None:
        """Put `head` into the model, in the place of the one that is there."""
        self.keep(model, self.head | head.names)
        self.heads[-1].values = taken(model, self.head)
        self.heads[-1].labels = label_names(model)
        self.heads.append(head)
        self._put_last(model)

    def leave_heads(self, model: nn.Module, name: str) -> None:
        """Let the attachment `name` go; a head that nobody uses any more goes with it."""
        own, last = self.heads[0], self.heads[-1]
        for head in self.heads:
            if name in head.users:
                head.users.remove(name)
        self.heads = [own, *(head for head in self.heads[1:] if head.users)]
        if not own.users and own is not last:
            own.values, own.labels = {n: self.originals[n] for n in own.names}, self.labels
        if self.heads[-1] is not last:
            self._put_last(model)

    def _put_last(self, model: nn.Module) -> None:
        head, every = self.heads[-1], self.any_head
        others = [n for n in self.originals if n not in self.trained_by]
        put(model, {n: self.originals[n] for n in others} | head.values)
        for n in others:
            model.get_parameter(n).requires_grad_(n in head.names)
            if n not in every:
                del self.originals[n]
        head.values = {}
        write_labels(model, head.labels or self.labels)


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
    """Refuse to act on a model in which, for a while, nothing is attached.

    Raises:
        Refused: `action` was called inside `with disabled(model)`.
    """
    if record.disabled:
        raise Refused(
            f"{action} inside `with disabled(model)` would act on the base alone: what was "
            "trained is set aside there. Leave the block first."
        )


def new_record(model: nn.Module, head: frozenset[str]) -> Record:
    """The record of a model before its first attachment, with the names of its head."""
    return Record(
        attention=config_of(model)._attn_implementation,
        required_grad={n: p.requires_grad for n, p in model.named_parameters()},
        heads=[Head(head)],
        labels=label_names(model),
    )
