"""How many parameters a method trains in a model, and what training then holds in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import traitlets

from ...core import Method
from ...core.count import Count, count
from ...core.errors import UnknownName
from ...experiments.sizes import blank
from ...registry import METHODS
from ..plots import MEMORY, canvas, style
from .figure import InteractiveFigure
from .shapes import LINEAR, memory, shapes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = (
    "bert-base", "bert-large", "roberta-large", "gpt2", "gpt2-xl", "llama-7b", "llama-13b",
    "llama-3.1-8b", "mistral-7b", "llama-3.1-70b", "gpt3",
)  # fmt: skip
STATE = {"optimiser": ("AdamW's state", MEMORY["optimiser"][1])}  # moments, and copies in 32 bits
_POWERS = [2**k for k in range(11)]
_RANKS: dict[str, Any] = {"values": _POWERS[:9]}
_SITES: dict[str, Any] = {
    "values": [
        ["attention.query", "attention.value"],
        ["attention.query", "attention.key", "attention.value", "attention.output"],
        list(LINEAR),
    ],
    "words": ["query, value", "all of attention", "every linear map"],
}
_SMALL: dict[str, Any] = {"values": [4, 8, 16, 24, 32, 48, 64, 128]}
_LENGTHS: dict[str, Any] = {"values": [1, 5, 10, 20, 50, 100, 200]}
# method → hyper-parameter → the values to choose from, and their words where they are no numbers
CONTROLS: dict[str, dict[str, dict[str, Any]]] = {
    "full": {},
    "top_layers": {"count": {"values": [1, 2, 3, 4, 6, 8, 12]}},
    "bitfit": {},
    "layer_norm": {},
    "lora": {"rank": _RANKS, "at": _SITES},
    "lora_fa": {"rank": _RANKS, "at": _SITES},
    "dora": {"rank": _RANKS, "at": _SITES},
    "adalora": {"start_rank": {"values": [8, 12, 16, 24, 32, 64, 128]}, "at": _SITES},
    "vera": {"rank": {"values": [1, 4, 16, 64, 256, 1024]}, "at": _SITES},
    "loha": {"rank": {"values": _POWERS[:7]}, "at": _SITES},
    "lokr": {"rank": {"values": _POWERS[:7]}, "at": _SITES},
    "oft": {"block": {"values": [4, 8, 16, 32, 64]}, "at": _SITES},
    "fourierft": {"frequencies": {"values": [50, 100, 200, 500, 1000, 2000, 5000, 10000]}},
    "houlsby": {"bottleneck": {"values": _POWERS[2:10]}},
    "pfeiffer": {"bottleneck": {"values": [*_POWERS[2:6], 48, *_POWERS[6:10]]}},
    "parallel": {"bottleneck": {"values": _POWERS[2:10]}},
    "residual": {"bottleneck": {"values": [10, 30, 100, 300]}},
    "adapter_plus": {"bottleneck": {"values": _POWERS[:7]}},
    "compacter": {"bottleneck": _SMALL},
    "compacter_plus_plus": {"bottleneck": _SMALL},
    "prompt_tuning": {"length": {"values": [1, 5, 10, 20, 50, 100, 150]}},
    "prefix_tuning": {
        "length": _LENGTHS,
        "hidden": {"values": [512, None], "words": ["512, while training", "none"]},
    },
    "p_tuning_v2": {"length": _LENGTHS},
    "llama_adapter": {"length": _LENGTHS},
    "ia3": {},
    "mam": {
        "length": {"values": [1, 5, 16, 30, 100, 200]},
        "hidden": {"values": [800, None], "words": ["800, while training", "none"]},
        "bottleneck": {"values": _POWERS[2:11]},
    },
    "loreft": {"rank": {"values": _POWERS[:7]}},
}


def _defaults() -> dict[str, dict[str, Any]]:
    """Every method's own hyper-parameters, as far as they can be chosen here."""
    found: dict[str, dict[str, Any]] = {}
    for name, controls in CONTROLS.items():
        own = METHODS[name]()
        values = {key: getattr(own, key) for key in controls}
        found[name] = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return found


class ParameterCounter(InteractiveFigure, script="parameter_counter.js"):
    """Choose a model and a method; see what is trained, stored and held in memory.

    Args:
        base: the model to begin with.
        method: the method to begin with.
        models: names to choose from, as for `pftlab.experiments.sizes.blank`.
        **chosen: hyper-parameters of `method`, and `precision` ("32", "16" or "4" bits), `batch`
            (sequences) and `length_of_text` (tokens).

    Raises:
        UnknownName: no such model, method or hyper-parameter here.
    """

    models = traitlets.Dict().tag(sync=True)
    order: traitlets.List[str] = traitlets.List().tag(sync=True)  # of the models
    methods: traitlets.List[Any] = traitlets.List().tag(sync=True)
    base = traitlets.Unicode().tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    precision = traitlets.Enum(("32", "16", "4"), "16").tag(sync=True)
    batch = traitlets.Int(8).tag(sync=True)
    length_of_text = traitlets.Int(512).tag(sync=True)

    def __init__(
        self,
        base: str = "llama-7b",
        method: str = "lora",
        models: Sequence[str] = MODELS,
        **chosen: Any,
    ):
        if method not in CONTROLS:
            raise UnknownName("method in this figure", method, CONTROLS)
        if base not in models:
            raise UnknownName("model in this figure", base, models)
        settings = _defaults()
        for name in [name for name in chosen if not self.has_trait(name)]:
            if name not in settings[method]:
                raise UnknownName(f"hyper-parameter of {method} here", name, settings[method])
            settings[method][name] = chosen.pop(name)
        super().__init__(
            models={name: shapes(name) for name in models},
            order=list(models),
            methods=[
                {
                    "name": name,
                    "title": METHODS[name].title,
                    "family": METHODS[name].family,
                    "controls": [{"name": key, **control} for key, control in controls.items()],
                }
                for name, controls in CONTROLS.items()
            ],
            base=base,
            method=method,
            settings=settings,
            **chosen,
        )

    def chosen(self) -> Method:
        """The method with its hyper-parameters, ready to be attached."""
        settings = dict(self.settings[self.method])
        if "at" in settings:
            have = self.models[self.base]["sites"]
            settings["at"] = tuple(place for place in settings["at"] if place in have)
        return METHODS[self.method](**settings)

    def count(self) -> Count:
        """Count by attaching the method to the model, without weights.

        Raises:
            PftError: the method does not go with this model.
        """
        with torch.device("meta"):  # what is planted takes no memory either
            return count(self.chosen().attach(blank(self.base)))

    def memory(self) -> dict[str, dict[str, float]]:
        """Bytes of a training step, by what they are: with the method, and with full fine-tuning.

        Raises:
            PftError: the method does not go with this model.
        """
        shape, counted = self.models[self.base], self.count()
        options: dict[str, Any] = {
            "precision": self.precision,
            "batch": self.batch,
            "length": self.length_of_text,
        }
        total = shape["total"]
        return {
            METHODS[self.method].title: memory(
                shape, self.method, self.settings[self.method], counted.trainable,
                counted.total - total, **options,
            ),
            METHODS["full"].title: memory(shape, "full", {}, total, 0, **options),
        }  # fmt: skip

    def table(self) -> list[dict[str, Any]]:
        return [{"training": name, **parts} for name, parts in self.memory().items()]

    def figure(self) -> "Figure":
        rows, counted = self.memory(), self.count()
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
            axes.set_title(f"{self.base}: {title} trains {counted.percent:.3g} % of the parameters")
            figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return figure

    def describe(self) -> str:
        return f"{self.base}, {self.method}, {len(self.models)} models"
