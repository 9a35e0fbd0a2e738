"""A method says what to plant and where, and which of the base's own parameters to train.

`attach` is all or nothing: when it raises, the model is as it was. What attaching changed is kept
in one record on the model, so that `detach` and `disabled` bring the base back bit for bit.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..facts import MODEL_TASKS, Facts
from .delta import Delta, plant, planted, uproot
from .errors import BadValue, Refused
from .ports.steps import StepCallbacks, guard, own_callbacks
from .sites import Site, base_prefix, config_of, sites


@dataclass
class Record:
    """What attaching changed in a model; kept in the model as `model.pftlab`.

    Attributes:
        methods: name → method, in the order of attachment.
        required_grad: parameter name → its flag before the first attachment.
        head: names of the parameters that were random at the start and are trained as the head.
        originals: name → value before training, in host memory, of every base parameter that is
            trained (the head included).
        trained_by: name of a base parameter → names of the methods that train it.
        attention: the model's attention implementation before the first attachment.
        guard: of a model in which a method acts in the steps of training; see `ports.steps`.
        announced: whether the loop that trains it just now calls the methods' callbacks.
    """

    methods: dict[str, "Method"] = field(default_factory=dict)
    required_grad: dict[str, bool] = field(default_factory=dict)
    head: frozenset[str] = frozenset()
    originals: dict[str, Tensor] = field(default_factory=dict)
    trained_by: dict[str, list[str]] = field(default_factory=dict)
    attention: str | None = None
    guard: RemovableHandle | None = None
    announced: bool = False


class Method(StepCallbacks):
    """What to plant and where: subclasses are frozen dataclasses of hyper-parameters.

    A method overrides `delta` (what to plant at one of its sites), or `trains` (which of the
    base's own parameters to train), or both. Its class data feed the registry and the tables, and
    the contract checks every claim made in them. A method of this package has them in its row of
    `pftlab.facts`, where each is explained, and takes them by `facts = FACTS["lora"]`; a method of
    one's own sets in its class what differs from the defaults here.
    """

    facts: ClassVar[Facts]
    name: ClassVar[str]  # by default the class's, in small letters
    place: ClassVar[str] = ""
    title: ClassVar[str]  # by default the class's name
    family: ClassVar[str] = "others"
    year: ClassVar[int] = 0
    learning_rate: ClassVar[float] = 1e-3
    paper: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    url: ClassVar[str] = ""
    surveys: ClassVar[str] = ""
    where: ClassVar[str] = ""
    model_tasks: ClassVar[tuple[str, ...]] = MODEL_TASKS
    identity_at_start: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    needs_head: ClassVar[bool] = False
    last_counts: ClassVar[bool] = False
    stores_more: ClassVar[str] = ""
    stores_less: ClassVar[str] = ""
    cannot: ClassVar[Mapping[str, str]] = {}
    tiny: ClassVar[Mapping[str, Any]] = {}
    small: ClassVar[Mapping[str, Any]] = {}
    peft: ClassVar[Any] = None  # a PeftFormat, where Hugging Face PEFT has the method

    # A method plants at the sites that its hyper-parameter `at` names. None, for the methods that
    # have it as their default, is every place that the method can act on; the others have no such
    # "every", and refuse it. A method without the hyper-parameter says in `where` what it acts on.
    at: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        unsaid = {
            "name": cls.__name__.strip("_").lower(),
            "title": cls.__name__,
            "place": f"{cls.__module__}:{cls.__qualname__}",
        }
        for key, value in (vars(cls.facts) if "facts" in own else unsaid).items():
            if key not in own:
                setattr(cls, key, value)

    def __post_init__(self) -> None:
        _check_hyperparameters(self)

    def sites(self, model: nn.Module) -> list[Site]:
        """The sites of `model` to plant at."""
        return sites(model, self.at, self.layers) if self.at else []

    def delta(self, site: Site) -> Delta:
        """What to plant at `site`."""
        raise NotImplementedError

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        """What to plant where; override it to let the deltas share something."""
        return [(site, self.delta(site)) for site in self.sites(model)]

    def trains(self, model: nn.Module) -> Iterable[str]:
        """Names of the base parameters to train, beside the deltas and the head."""
        return ()

    def attach(self, model: nn.Module, name: str | None = None) -> nn.Module:
        """Plant this method in `model`, freeze the rest, and return the model.

        The first attachment freezes every parameter but the head (what `from_pretrained` had to
        initialise at random). Attaching a second method composes the two.

        Args:
            model: a transformers model of a supported architecture; changed in place.
            name: under which it is attached, saved and detached; the method's own by default.

        Raises:
            BadValue: the name is taken, a hyper-parameter is impossible for this model, or the
                result would train nothing.
            UnknownName: the architecture or a site is not known.
            Refused: the method cannot work on this model. Whatever is raised, the model is
                as it was.
        """
        name = self.name if name is None else name
        record = getattr(model, "pftlab", None) or new_record(model)
        _check_name(name, record)
        parameters = dict(model.named_parameters())
        flags = {n: p.requires_grad for n, p in parameters.items()}
        attention = config_of(model)._attn_implementation
        try:
            deltas = self.plan(model)
            opened = [n for n in self.trains(model) if n not in record.head]
            if not record.methods:
                for n, parameter in parameters.items():
                    parameter.requires_grad_(n in record.head)
            for site, delta in deltas:
                plant(site, name, delta)
            for n in opened:
                if not parameters[n].is_floating_point():
                    raise Refused(f"{n} is quantised and cannot be trained. Load it in 16 bits.")
                parameters[n].requires_grad_(True)
            head = [n for n in record.head if parameters[n].requires_grad]
            ours = sum(p.numel() for _, d in deltas for p in d.parameters() if p.requires_grad)
            if not (ours or opened or (self.needs_head and head)):
                raise BadValue(
                    f"{self.title} has nothing to train in this {type(model).__name__}. "
                    + self.nothing_to_train
                )
        except BaseException:
            for _, host, child, _delta in planted(model, name):
                uproot(host, child)
            for n, parameter in parameters.items():
                parameter.requires_grad_(flags[n])
            _set_attention(model, attention)
            raise
        for n in [*opened, *head]:
            if n not in record.originals:
                value = parameters[n].detach()
                record.originals[n] = value if value.is_meta else value.to("cpu", copy=True)
        for n in opened:
            record.trained_by.setdefault(n, []).append(name)
        record.methods[name] = copy.copy(self)  # so that it knows its name: see attached_as
        model.pftlab = record  # type: ignore[assignment]
        _guard(model)
        return model

    def attached_as(self, model: nn.Module) -> str:
        """The name under which this method, or an equal one, is attached to `model`."""
        found = record_of(model).methods
        names = [n for n, m in found.items() if m is self] or [
            n for n, m in found.items() if m == self
        ]
        if not names:
            raise Refused(f"This {self.title} is not attached to this {type(model).__name__}.")
        return names[0]

    #: advice for the error that is raised when there is nothing to train
    nothing_to_train: ClassVar[str] = "Choose other sites, or a model that has them."


def attached(model: nn.Module) -> dict[str, Method]:
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


def detach(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take a method out again, or all of them; the base is bit for bit what it was.

    Args:
        model: a model with something attached; changed in place and returned.
        name: which; None: all, with the head and the `requires_grad` flags back as they were.

    Raises:
        Refused: nothing is attached.
        BadValue: `name` is not attached.
    """
    record = record_of(model)
    names = list(record.methods) if name is None else [name]
    for each in names:
        if each not in record.methods:
            raise BadValue(
                f"{each!r} is not attached. Attached: {', '.join(record.methods)}. "
                "Give one of these, or none to detach all."
            )
    parameters = dict(model.named_parameters())
    for each in names:
        for _, host, child, _delta in planted(model, each):
            uproot(host, child)
        for n, users in list(record.trained_by.items()):
            if each in users:
                users.remove(each)
            if not users and n not in record.head:
                _restore(parameters[n], record.originals.pop(n))
                parameters[n].requires_grad_(False)
            if not users:
                del record.trained_by[n]
        del record.methods[each]
    _guard(model)
    if not any(is_listening(delta) for *_, delta in planted(model)):
        _set_attention(model, record.attention)
    if not record.methods:
        for n, original in record.originals.items():  # what is left is the head
            _restore(parameters[n], original)
        for n, flag in record.required_grad.items():
            parameters[n].requires_grad_(flag)
        del model.pftlab
    return model


def release(model: nn.Module) -> nn.Module:
    """Forget every attachment but keep what the base's own parameters have become."""
    record = record_of(model)
    for _, host, child, _delta in planted(model):
        uproot(host, child)
    _set_attention(model, record.attention)
    for n, parameter in model.named_parameters():
        parameter.requires_grad_(record.required_grad[n])
    record.methods.clear()
    _guard(model)
    del model.pftlab
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the block the model is the base that it was, bit for bit, head included.

    Raises:
        Refused: nothing is attached.
    """
    record = record_of(model)
    deltas = [delta for *_, delta in planted(model)]
    active = [delta.active for delta in deltas]
    parameters = dict(model.named_parameters())
    trained = {n: parameters[n].data for n in record.originals}
    attention = config_of(model)._attn_implementation
    try:
        for delta in deltas:
            delta.active = False
        for n, original in record.originals.items():
            parameters[n].data = original.to(parameters[n])
        _set_attention(model, record.attention)
        yield model
    finally:
        for delta, flag in zip(deltas, active, strict=True):
            delta.active = flag
        for n, data in trained.items():
            parameters[n].data = data
        _set_attention(model, attention)


def is_listening(delta: Delta) -> bool:
    """Whether this delta acts through the attention interface."""
    from .attention import KeysValues

    return isinstance(delta, KeysValues)


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Exactly what training changes: the deltas' tensors and the trained base parameters.

    Returns:
        Name in the model → tensor (detached, not copied). The head is among them.
    """
    record = record_of(model)
    parameters = dict(model.named_parameters())
    state: dict[str, Tensor] = {}
    shared: set[int] = set()
    for prefix, delta in _prefixed(model):
        own = delta.state_dict(keep_vars=True)
        for name, tensor in delta.pack().items():
            source = id(own.get(name, tensor))
            if source not in shared:  # what deltas share is stored under its first name
                state[prefix + name] = tensor
            shared.add(source)
    return state | {n: parameters[n].detach() for n in record.originals}


def load_trainable_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy `state`, as `trainable_state` gave it, into `model`.

    Raises:
        BadValue: names or shapes differ; no value has been copied then.
    """
    packed = {
        prefix: {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        for prefix, _ in _prefixed(model)
    }
    for prefix, delta in _prefixed(model):
        delta.fit(packed[prefix])
    own = trainable_state(model)
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise BadValue(
            f"These tensors do not belong to what is attached ({', '.join(attached(model))}): "
            f"missing {missing[:3] or 'none'}, unknown {unknown[:3] or 'none'}. "
            "Attach the same methods with the same hyper-parameters first."
        )
    for n, tensor in own.items():
        if tensor.shape != state[n].shape:
            raise BadValue(
                f"{n} has shape {tuple(state[n].shape)} in the file and {tuple(tensor.shape)} "
                "in the model. Use the base and the hyper-parameters that it was trained with."
            )
    for prefix, delta in _prefixed(model):
        delta.unpack(packed[prefix])
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for n in record_of(model).originals:
            parameters[n].copy_(state[n])


def _prefixed(model: nn.Module) -> list[tuple[str, Delta]]:
    """Every planted delta once, with what stands before its tensors' names in the model."""
    found: dict[int, tuple[str, Delta]] = {}
    for path, _, child, delta in planted(model):
        found.setdefault(id(delta), (f"{path}.{child}.".lstrip("."), delta))
    return list(found.values())


def head_parameters(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that `from_pretrained` had to initialise at random.

    `load_base` records them. For a model from elsewhere, they are what a task model has outside
    its base model, provided it is no language model: its output layer is pretrained.
    """
    info = getattr(model, "pftlab_base", None)
    names = [n for n, _ in model.named_parameters()]
    if info is not None:
        return frozenset(n for n in names if n in info.fresh)
    if model.get_output_embeddings() is not None or not base_prefix(model):
        return frozenset()
    return frozenset(n for n in names if not n.startswith(base_prefix(model)))


def new_record(model: nn.Module, head: Iterable[str] | None = None) -> Record:
    """The record of a model before its first attachment.

    Args:
        model: a transformers model.
        head: names of the parameters that are trained as the head; None: `head_parameters`.
    """
    return Record(
        attention=config_of(model)._attn_implementation,
        required_grad={n: p.requires_grad for n, p in model.named_parameters()},
        head=head_parameters(model) if head is None else frozenset(head),
    )


def _guard(model: nn.Module) -> None:
    """Guard a model in which a method acts in the steps of training, and no other."""
    record = record_of(model)
    acts = any(own_callbacks(type(method)) for method in record.methods.values())
    if acts and record.guard is None:
        record.guard = guard(model)
    elif not acts and record.guard is not None:
        record.guard.remove()
        record.guard = None


def _check_name(name: str, record: Record) -> None:
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)):
        raise BadValue(
            f"{name!r} cannot be a name: use letters, digits and underscores, a letter first."
        )
    if name in record.methods:
        raise BadValue(
            f"{name!r} is attached already. Detach it first, or attach this one under "
            f"another name: attach(model, name={name + '_2'!r})."
        )


def _restore(parameter: nn.Parameter, original: Tensor) -> None:
    parameter.data = original.to(parameter)  # the model may have moved or changed its type
    parameter.grad = None


def _set_attention(model: Any, implementation: str | None) -> None:
    if implementation is not None and model.config._attn_implementation != implementation:
        model.set_attn_implementation(implementation)


def _check_hyperparameters(method: Method) -> None:
    """The limits that hold for a hyper-parameter whatever method has it."""
    for spec in fields(method):  # type: ignore[arg-type]
        value = getattr(method, spec.name)
        problem = _problem(spec.name, value)
        if spec.name == "at" and value is None and spec.default is not None:
            problem = f"name the sites; by default they are {spec.default!r}."
        if problem:
            raise BadValue(f"{type(method).__name__}({spec.name}={value!r}): {problem}")


def _problem(name: str, value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    if name in ("rank", "bottleneck", "length") and not (whole and value >= 1):
        return f"the {name} must be a whole number of at least 1."
    if name == "alpha" and not (number and value > 0):
        return "alpha is a number greater than 0; it scales the update."
    if name == "dropout" and not (number and 0 <= value < 1):
        return "dropout is a probability: at least 0, less than 1."
    if name == "at" and value is not None:
        if not _tuple_of(str, value):
            return 'give a tuple of site names, such as ("attention.query", "attention.value").'
        if len(set(value)) < len(value):
            return "a site is named twice."
    if name == "layers" and value is not None and not (_tuple_of(int, value) and min(value) >= 0):
        return "give a tuple of layer numbers from 0, or None for all layers."
    return ""


def _tuple_of(kind: type, value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(v, kind) for v in value)
