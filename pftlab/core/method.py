"""A method says what to plant and where, and which of the base's own parameters to train."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar

from torch import nn

from ..facts import MODEL_TASKS, Facts
from . import attachment
from .delta import Delta
from .errors import BadValue, Refused
from .places import Site
from .ports.steps import StepCallbacks
from .record import record_of
from .sites import sites

LINEAR_MAPS = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "ffn.up",
    "ffn.down",
)


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
    equation: ClassVar[str] = ""
    symbols: ClassVar[str] = ""
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

    def attach(
        self,
        model: nn.Module,
        name: str | None = None,
        *,
        seed: int | None = None,
        head: Iterable[str] | None = None,
    ) -> nn.Module:
        """Plant this method in `model`, freeze the rest, and return the model.

        The first attachment freezes every parameter but the head. Attaching a second method
        composes the two; they train one head.

        Args:
            model: a transformers model of a supported architecture; changed in place.
            name: under which it is attached, saved and detached; the method's own by default.
            seed: of what the method draws at random; None: the caller's random state goes on.
            head: names of modules or parameters of the base that are trained and saved as the
                head; None: the task's layers outside the base model, and what `load_base` had
                to initialise at random. () trains no head. Only for the first attachment.

        Raises:
            BadValue: the name is taken, a hyper-parameter is impossible for this model, or the
                result would train nothing.
            UnknownName: the architecture, a site, or a name in `head` is not known.
            Refused: the method cannot work on this model, or the model was compiled, sharded,
                offloaded or adapted by another library before. Whatever is raised, the model
                is as it was.
        """
        return attachment.attach(model, self, name, seed, head)

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


def _check_hyperparameters(method: Method) -> None:
    """The limits that hold for a hyper-parameter whatever method has it."""
    for spec in fields(method):  # type: ignore[arg-type]
        value = getattr(method, spec.name)
        problem = _problem(spec.name, value)
        if spec.name == "at" and value is None and spec.default is not None:
            problem = f"name the sites; by default they are {spec.default!r}."
            if {*LINEAR_MAPS}.issuperset(spec.default):  # type: ignore[arg-type]
                problem += (
                    f" Every linear map of a layer is at={LINEAR_MAPS!r}, with 'ffn.gate' where "
                    "there is one."
                )
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
