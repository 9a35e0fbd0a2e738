"""Which methods a budget leaves, and what speaks for each: counts, our runs, the papers."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets

from ...core.errors import UnknownName
from ...experiments.comparison import Paired, over_seeds
from ...experiments.costs import LINEAR, Cost
from ...experiments.results import STORED, Result, load_results
from ...facts import FACTS
from ...low_rank.qlora import QLoRA
from ..plots import GREY, canvas, style
from .figure import InteractiveFigure
from .parameter_counter import ParameterCounter, memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is offered, at the settings that were counted by default; LoRA is compared with.
CANDIDATES = (
    "full", "linear_probe", "bitfit", "layer_norm", "lora", "qlora", "lora_fa", "houlsby", "ia3",
    "prompt_tuning", "p_tuning_v2", "prefix_tuning",
)  # fmt: skip
REFERENCE = "lora"
#: Tables of ours that hold most of them, and in which methods learned something.
TABLES = (
    ("encoders/mini-encoder-sst2", "mini-encoder"), ("encoders/minilm-sst2", "minilm"),
    ("encoders/mini-encoder-trec", "mini-encoder"), ("encoders/minilm-trec", "minilm"),
    ("smollm2", "smollm2"),
)  # fmt: skip
KINDS = {  # what a task asks for → what the model is for, in words
    "sequence_classification": "a class for each text",
    "token_classification": "a tag for each word",
    "causal_lm": "text",
}
AMOUNTS = {"few": "fewer than 100", "some": "hundreds to thousands", "many": "more than 10,000"}
BUDGETS = (2, 4, 8, 12, 16, 24, 40, 48, 80, 160, 320, 640, 1280)  # GiB
TASKS = (1, 10, 100, 1000)
BATCHES, LENGTH = (1, 8), 512  # texts in the training step that is estimated, tokens in each
GIB = 2**30


class Said(NamedTuple):
    """What a paper reports of a method.

    Attributes:
        method: of `CANDIDATES`.
        kinds: of `KINDS` that it speaks of.
        amounts: of `AMOUNTS` that it speaks of.
        text: the claim, in a clause.
        reference: its key in book/references.bib.
        paper: authors and year.
    """

    method: str
    kinds: tuple[str, ...]
    amounts: tuple[str, ...]
    text: str
    reference: str
    paper: str


_CLASSES, _TAGS, _TEXT = ((kind,) for kind in KINDS)
SAID = (
    Said("full", _TEXT, ("many",), "learns more than LoRA on code and mathematics, and forgets "
         "more", "biderman2024lora", "Biderman et al. 2024"),
    Said("linear_probe", (*_CLASSES, *_TAGS), tuple(AMOUNTS), "as good as fine-tuning for some "
         "pairs of base and task, and behind for others", "peters2019tune", "Peters et al. 2019"),
    Said("bitfit", _CLASSES, ("few", "some"), "competitive with full fine-tuning on small and "
         "medium data, behind on large", "benzaken2022bitfit", "Ben Zaken et al. 2022"),
    Said("layer_norm", _CLASSES, ("some", "many"), "gain and bias of the norms, about 0.03 % of "
         "the parameters", "qi2022layernorm", "Qi et al. 2022"),
    Said("lora", (*_CLASSES, *_TEXT), ("some", "many"), "on par with full fine-tuning on GLUE and "
         "with GPT-3, no extra time after merging", "hu2022lora", "Hu et al. 2022"),
    Said("qlora", _TEXT, ("some", "many"), "a model of 65 billion parameters within 48 GB, at the "
         "score of 16 bits", "dettmers2023qlora", "Dettmers et al. 2023"),
    Said("lora_fa", (*_CLASSES, *_TEXT), ("some", "many"), "up to 1.4 times less memory than "
         "LoRA, at close accuracy", "zhang2023lorafa", "Zhang et al. 2023"),
    Said("houlsby", _CLASSES, ("some", "many"), "GLUE 80.0 against 80.4 of full fine-tuning, with "
         "3.6 % of the parameters for each task", "houlsby2019parameter", "Houlsby et al. 2019"),
    Said("ia3", (*_CLASSES, *_TEXT), ("few",), "with few examples ahead of full fine-tuning and "
         "of examples in context", "liu2022fewshot", "Liu et al. 2022"),
    Said("prompt_tuning", _CLASSES, ("some", "many"), "far behind in small models, on par at "
         "about 10 billion parameters", "lester2021power", "Lester et al. 2021"),
    Said("p_tuning_v2", (*_CLASSES, *_TAGS), ("some", "many"), "on par with full fine-tuning from "
         "330 million parameters on, tagging included", "liu2022ptuning", "Liu et al. 2022"),
    Said("prefix_tuning", _TEXT, ("few", "some"), "on par on table-to-text, ahead with few "
         "examples", "li2021prefix", "Li and Liang 2021"),
)  # fmt: skip


class Evidence(NamedTuple):
    """One stored row of ours: a method against LoRA, corrected for the number of methods.

    Attributes:
        base, task: where.
        method: of `CANDIDATES`.
        points: the mean difference.
        half: of its interval, at the level at which the method was judged; over seeds and test
            texts, or over seeds alone where answers to single texts were not stored (`smollm2`).
        seeds: how many pairs.
        verdict: "better", "worse" or "cannot tell".
    """

    base: str
    task: str
    method: str
    points: float
    half: float
    seeds: int
    verdict: str


def best_runs(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Method → its runs at the settings and rate with the best mean score in validation."""
    groups: dict[str, dict[str, list[Result]]] = {}
    for run in results:
        key = f"{sorted(run.hyperparameters.items())} {run.training}"
        groups.setdefault(run.method, {}).setdefault(key, []).append(run)

    def seen(runs: list[Result]) -> float:
        return sum(run.validation[run.task["metric"]] for run in runs) / len(runs)

    return {name: max(every.values(), key=seen) for name, every in groups.items()}


@cache
def evidence(names: tuple[str, ...] = CANDIDATES) -> Sequence[Evidence]:
    """What the book's stored runs say of these methods against LoRA, table by table."""
    found = []
    for file, base in TABLES:
        runs = best_runs(load_results(STORED / f"{file}.jsonl", base=base))
        here = {name: runs[name] for name in names if name in runs}
        answered = all(run.texts for some in here.values() for run in some)
        judged = Paired(here).against(REFERENCE) if answered else over_seeds(here, REFERENCE)
        for d in judged:
            task = here[d.method][0].task["name"]
            half = 50 * (d.high - d.low)
            found.append(Evidence(base, task, d.method, 100 * d.value, half, d.seeds, d.verdict))
    return tuple(found)


class MethodChooser(InteractiveFigure, script="method_chooser.js"):
    """Say what you have; see which methods it leaves, and what speaks for each.

    Memory is estimated as by `ParameterCounter`, for texts of 512 tokens and weights in 16 bits
    (QLoRA: 4). What does not fit, or does not go with the model, is ruled out with the
    reason. What is left is sorted by memory, and comes last where our runs found it worse than
    LoRA in some table: no order is claimed beyond that.

    Args:
        model: to begin with; one whose costs were counted.
        kind: of task, one of `KINDS`.
        budget: GiB, one of `BUDGETS`.
        tasks: how many, one of `TASKS`.
        amount: of examples, one of `AMOUNTS`.
        batch: texts in a step, one of `BATCHES`.
        merged: only what costs no time at inference.

    Raises:
        UnknownName: no such model, kind or amount.
    """

    models: traitlets.List[str] = traitlets.List().tag(sync=True)
    costs = traitlets.Dict().tag(sync=True)
    methods: traitlets.List[Any] = traitlets.List().tag(sync=True)
    kinds: traitlets.List[Any] = traitlets.List().tag(sync=True)
    amounts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    budgets: traitlets.List[int] = traitlets.List(list(BUDGETS)).tag(sync=True)
    counts: traitlets.List[int] = traitlets.List(list(TASKS)).tag(sync=True)
    said: traitlets.List[Any] = traitlets.List().tag(sync=True)
    ours: traitlets.List[Any] = traitlets.List().tag(sync=True)
    model_name = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    budget = traitlets.Int(24).tag(sync=True)
    tasks = traitlets.Int(1).tag(sync=True)
    amount = traitlets.Unicode("some").tag(sync=True)
    batches: traitlets.List[int] = traitlets.List(list(BATCHES)).tag(sync=True)
    batch = traitlets.Int(1).tag(sync=True)
    merged = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self, model: str = "llama-3.1-8b", kind: str = "sequence_classification", **chosen: Any
    ):
        counter = ParameterCounter()
        four_bits = ParameterCounter(method="lora", rank=QLoRA().rank, at=LINEAR)
        for name, value, known in (
            ("model", model, counter.order), ("kind of task", kind, KINDS),
            ("amount of examples", chosen.get("amount", "some"), AMOUNTS),
        ):  # fmt: skip
            if value not in known:
                raise UnknownName(name, value, known)
        super().__init__(
            models=counter.order,
            costs={name: _costs(counter, four_bits, name) for name in counter.order},
            methods=[
                [name, FACTS[name].title, FACTS[name].family, FACTS[name].mergeable,
                 " ".join(FACTS[name].model_tasks)]
                for name in CANDIDATES
            ],
            kinds=[list(each) for each in KINDS.items()],
            amounts=[list(each) for each in AMOUNTS.items()],
            said=[
                [each.method, " ".join(each.kinds), " ".join(each.amounts), each.text, each.paper]
                for each in SAID
            ],
            ours=[
                [each.method, each.base, each.task, each.verdict,
                 f"{each.points:+.1f} ± {each.half:.1f}".replace("-", "−")]
                for each in evidence()
            ],
            model_name=model,
            kind=kind,
            **chosen,
        )  # fmt: skip

    def reason(self, method: str) -> str:
        """Why the method is ruled out; "" if it is not."""
        if isinstance(cost := self.costs[self.model_name][method], str):
            return cost
        if self.kind not in FACTS[method].model_tasks:
            return "not for this kind of task"
        if self.bytes(method) > self.budget * GIB:
            return f"needs about {self.bytes(method) / GIB:.3g} GiB"
        if self.merged and not FACTS[method].mergeable:
            return "cannot be merged, so it takes time at inference"
        return ""

    def worse(self, method: str) -> int:
        """In how many tables our runs found the method worse than LoRA; none for other tasks."""
        if self.kind != "sequence_classification":
            return 0
        return sum(row[0] == method and row[3] == "worse" for row in self.ours)

    def candidates(self) -> list[str]:
        """What is left, in the order of the page."""
        left = [name for name in CANDIDATES if not self.reason(name)]
        return sorted(left, key=lambda name: (self.worse(name) > 0, self.bytes(name)))

    def bytes(self, method: str) -> float:
        """Of a training step."""
        return self.costs[self.model_name][method][BATCHES.index(self.batch)]

    def table(self) -> list[dict[str, Any]]:
        left = self.candidates()
        return [
            {"method": FACTS[name].title, "verdict": self.reason(name) or "fits"}
            for name in [*left, *(name for name in CANDIDATES if name not in left)]
        ]

    def figure(self) -> "Figure":
        left = self.candidates()
        with style():
            figure, axes = canvas(7.2, 0.9 + 0.27 * max(3, len(left)))
            axes.grid(True, axis="x")
            axes.barh(
                [FACTS[name].title for name in left],
                [self.bytes(name) / GIB for name in left],
                color=GREY,
            )
            axes.axvline(self.budget, color=GREY, linestyle="--")
            axes.invert_yaxis()
            axes.set_xlabel("GiB of a training step (estimate)")
            axes.set_title(f"{self.model_name}, {self.budget} GiB, {KINDS[self.kind]}")
        return figure

    def describe(self) -> str:
        return f"{self.model_name}, {self.kind}, {self.budget} GiB, {len(self.candidates())} left"


def _costs(plain: ParameterCounter, four_bits: ParameterCounter, model: str) -> Mapping[str, Any]:
    """Method → [bytes of a step for each of `BATCHES`, of a file], or why there is none."""
    found: dict[str, Any] = {}
    stored, total = plain.fetched(f"costs-{model}"), plain.models[model]["total"]
    plain.base = four_bits.base = model
    for name in CANDIDATES:
        if isinstance(stored[name], str) and name != "linear_probe":
            found[name] = stored[name].partition(". ")[0]
            continue
        precision = "16"
        if name == "linear_probe":  # its head alone, which these models of words have not
            cost = Cost(*[0] * 8)
        elif name == "qlora":  # LoRA at every linear map, of a base that is in four bits alone
            cost, precision = four_bits.cost("lora"), "4"
        else:
            cost = plain.cost(name)
        steps = [
            sum(memory(cost, total, precision=precision, batch=batch, length=LENGTH).values())
            for batch in BATCHES
        ]
        found[name] = [*map(round, steps), 2 * (total if name == "full" else cost.stored)]
    return found
