"""How many parameters a method trains in a model, and what training then holds in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import traitlets

from ...core import Method
from ...core.count import Count, count
from ...core.errors import BadValue, Refused, UnknownName
from ...experiments.costs import Cost, build
from ...experiments.results import load_costs
from ...experiments.sizes import blank
from ...registry import METHODS
from ..plots import MEMORY, canvas, style
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATE = {"optimiser": ("AdamW's state", MEMORY["optimiser"][1])}  # moments, and copies in 32 bits
FULL = "full"  # what everything is compared with
# NF4 with blocks of 64 and quantised constants: 4 + 8 / 64 + 32 / (64 · 256) bits a weight
# (Dettmers et al., 2023, Section 3)
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
# Bytes of a weight, of a gradient, and of AdamW's state: two moments in 32 bits and, where
# weights have 16, a copy of the trained ones in 32 (Rajbhandari et al., 2020, Section 3.1).
BYTES = {"32": (4, 4, 8), "16": (2, 2, 12), "4": (2, 2, 12)}


def memory(cost: Cost, total: int, *, precision: str, batch: int, length: int) -> dict[str, float]:
    """Estimate the bytes that a training step holds, by what they are.

    Args:
        cost: of the method on the model.
        total: parameters of the model.
        precision: "32" or "16" bits, or "4": the layers' frozen matrices in NF4, the rest in 16.
        batch: sequences in a step.
        length: tokens in a sequence.

    Returns:
        Bytes of "weights", "gradients", "optimiser" (AdamW) and "activations" (without those of
        the output layer, for attention that does not store its scores, without dropout).
    """
    weight, gradient, optimiser = BYTES[precision]
    packed = cost.packable if precision == "4" else 0
    numbers = cost.step + batch * (cost.text + length * cost.token)
    return {
        "weights": NF4_BYTES * packed + weight * (total - packed + cost.added) + cost.other,
        "gradients": gradient * cost.trainable,
        "optimiser": optimiser * cost.trainable,
        "activations": weight * numbers,
    }


class ParameterCounter(InteractiveFigure, script="parameter_counter.js"):
    """Choose a model and a method; see what is trained, stored and held in memory.

    What it shows was counted by attaching each method to each model: see
    `pftlab.experiments.costs`.

    Args:
        base: the model to begin with.
        method: the method to begin with.
        models: names to choose from; None: all that were counted.
        **chosen: hyper-parameters of `method`, and `precision` ("32", "16" or "4" bits), `batch`
            (sequences) and `length_of_text` (tokens).

    Raises:
        UnknownName: no such model, method or hyper-parameter here.
        BadValue: the hyper-parameter was not counted with this value.
    """

    models = traitlets.Dict().tag(sync=True)
    order: traitlets.List[str] = traitlets.List().tag(sync=True)  # of the models
    methods: traitlets.List[Any] = traitlets.List().tag(sync=True)
    reference = traitlets.Unicode(FULL).tag(sync=True)
    base = traitlets.Unicode().tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    precision = traitlets.Enum(tuple(BYTES), "16").tag(sync=True)
    batch = traitlets.Int(8).tag(sync=True)
    length_of_text = traitlets.Int(512).tag(sync=True)

    def __init__(
        self,
        base: str = "llama-7b",
        method: str = "lora",
        models: Sequence[str] | None = None,
        **chosen: Any,
    ):
        stored = load_costs()
        models = tuple(stored["models"]) if models is None else models
        self._costs = {name: stored["costs"][name] for name in models if name in stored["costs"]}
        if unknown := [name for name in (*models, base) if name not in self._costs]:
            raise UnknownName("model in this figure", unknown[0], self._costs)
        counted = [
            each
            for each in stored["methods"]
            if any(isinstance(costs.get(each["name"]), list) for costs in self._costs.values())
        ]
        self._controls = {each["name"]: each["controls"] for each in counted}
        if method not in self._controls:
            raise UnknownName("method in this figure", method, self._controls)
        settings = {each["name"]: dict(each["defaults"]) for each in counted}
        for name in [name for name in chosen if not self.has_trait(name)]:
            if name not in settings[method]:
                raise UnknownName(f"hyper-parameter of {method} here", name, settings[method])
            value = chosen.pop(name)
            settings[method][name] = list(value) if isinstance(value, tuple) else value
        super().__init__(
            models={name: stored["models"][name] for name in models},
            order=list(models),
            methods=[{k: v for k, v in each.items() if k != "defaults"} for each in counted],
            base=base,
            method=method,
            settings=settings,
            **chosen,
        )
        if isinstance(self._costs[base].get(method), list):
            self.cost()

    def fetched(self, name: str) -> Any:
        return self._costs[name.removeprefix("costs-")]

    def chosen(self) -> Method:
        """The method with its hyper-parameters, ready to be attached."""
        return build(self.base, METHODS[self.method], dict(self.settings[self.method]))

    def count(self) -> Count:
        """Count by attaching the method to the model, without weights.

        Raises:
            PftError: the method does not go with this model.
        """
        with torch.device("meta"):  # what is planted takes no memory either
            return count(self.chosen().attach(blank(self.base)))

    def cost(self, method: str | None = None) -> Cost:
        """What was counted of the method, or of another one as it is set here.

        Raises:
            Refused: the method, set so, does not go with this model.
            BadValue: it was not counted with these hyper-parameters.
        """
        method = method or self.method
        rows, place = self._costs[self.base][method], 0
        if isinstance(rows, str):
            raise Refused(rows)
        for control in self._controls[method]:
            value, values = self.settings[method][control["name"]], control["values"]
            if value not in values:
                raise BadValue(
                    f"{method} was not counted with {control['name']}={value!r}. "
                    f"Choose from: {', '.join(map(str, values))}."
                )
            place = place * len(values) + values.index(value)
        if not rows[place]:
            raise Refused(f"{method}, set so, does not go with {self.base}. Choose other values.")
        return Cost(*rows[place])

    def memory(self) -> dict[str, dict[str, float]]:
        """Bytes of a training step, by what they are: with the method, and with full fine-tuning.

        Raises:
            Refused: the method does not go with this model.
        """
        options: dict[str, Any] = {
            "precision": self.precision,
            "batch": self.batch,
            "length": self.length_of_text,
        }
        total = self.models[self.base]["total"]
        return {
            METHODS[name].title: memory(self.cost(name), total, **options)
            for name in (self.method, FULL)
        }  # one entry for full fine-tuning itself

    def table(self) -> list[dict[str, Any]]:
        return [{"training": name, **parts} for name, parts in self.memory().items()]

    def figure(self) -> "Figure":
        rows, cost = self.memory(), self.cost()
        with style():
            figure, axes = canvas(7.2, 2.4)
            axes.grid(True, axis="x")
            ends = [0.0] * len(rows)
            for part, (name, colour) in (MEMORY | STATE).items():
                widths = [parts[part] / 2**30 for parts in rows.values()]
                axes.barh(range(len(rows)), widths, left=ends, color=colour, label=name)
                ends = [end + width for end, width in zip(ends, widths, strict=True)]
            axes.set_yticks(range(len(rows)), list(rows))
            axes.invert_yaxis()
            axes.set_xlabel("GiB (estimate)")
            title = METHODS[self.method].title
            share = 100 * cost.trainable / (self.models[self.base]["total"] + cost.added)
            axes.set_title(f"{self.base}: {title} trains {share:.3g} % of the parameters")
            figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return figure

    def describe(self) -> str:
        return f"{self.base}, {self.method}, {len(self.models)} models"
