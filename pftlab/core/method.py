"""A method says what to plant and where, and which of the base's own parameters to train."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

from torch import nn

from ..facts import MODEL_TASKS, Facts
from . import attachment
from .delta import Delta, planted
from .errors import BadValue, Refused
from .limits import LayerNumbers, SiteNames, check_limits
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


Kind = TypeVar("Kind", bound=Delta)


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
    at: SiteNames | None = None
    layers: LayerNumbers | None = None

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
        _check_every_site(self)
        check_limits(self)

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

    def planted_in(self, model: nn.Module, kind: type[Kind]) -> list[Kind]:
        """The deltas of this kind that this method has in `model`, each of them once."""
        found = planted(model, self.attached_as(model))
        return list({id(d): d for *_, d in found if isinstance(d, kind)}.values())

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


def _check_every_site(method: Method) -> None:
    """None is no value of `at` where the method has no such "every"."""
    specs = {spec.name: spec for spec in fields(method)}  # type: ignore[arg-type]
    default: Any = specs["at"].default if "at" in specs else None
    if not default or method.at is not None:
        return
    problem = f"name the sites; by default they are {default!r}."
    if {*LINEAR_MAPS}.issuperset(default):
        problem += (
            f" Every linear map of a layer is at={LINEAR_MAPS!r}, with 'ffn.gate' where there is "
            "one."
        )
    raise BadValue(f"{type(method).__name__}(at=None): {problem}")
