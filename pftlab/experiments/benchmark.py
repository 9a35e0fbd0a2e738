"""What a method costs beside Hugging Face PEFT's, full fine-tuning and what cannot be avoided.

    python -m pftlab.experiments.benchmark bert-base llama-3.2-1b --out costs.json
    python -m pftlab.experiments.benchmark --join part*.json --out book/results/side_by_side.json

Models of well-known sizes with random weights are drawn where they run, so nothing is downloaded.
For each method three models share one set of frozen weights: ours, PEFT's with the configuration
that our checkpoint holds, and the **floor**, a frozen model through which the gradient passes and
of which nothing is trained. They take turns, in another order in every round, so that what slows
the machine down slows all of them down; a ratio is the median over the rounds of steps of one
round. A step is a forward pass, a backward pass and AdamW.

On a CPU time is that of one thread; on a GPU the clock's, after synchronising, in bfloat16 under
autocast, and memory what PyTorch's allocator reports. What the forward pass keeps is counted on
both.
"""

import argparse
import copy
import datetime
import gc
import json
import platform
import random
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..core.errors import UnknownName
from ..core.files import atomic_write
from ..core.merge import merge
from ..exchange.peft import FORMS
from ..registry import METHODS, load, save
from ..training import Lifecycle
from .clock import timed
from .memory import kept_activations
from .origin import commit, device_name
from .results import SIDE_BY_SIDE, load_side_by_side
from .sizes import drawn

COMPARED = (
    "lora", "dora", "adalora", "vera", "loha", "lokr", "randlora", "ia3", "oft", "fourierft",
    "layer_norm", "prompt_tuning", "p_tuning_v2", "qlora",
)  # fmt: skip
PACKAGES = ("torch", "triton", "transformers", "peft", "bitsandbytes", "accelerate")
WARM_UP = 3  # rounds that are not counted
RATE = 1e-5  # of AdamW; what is learned does not matter


class Shape(NamedTuple):
    """A model and its batch.

    Attributes:
        size: in `SIZES`.
        layers: it is cut down to; None: as it is.
        texts: in a batch.
        tokens: of each text.
        labels: of a classification head; None: a language model.
    """

    size: str
    layers: int | None
    texts: int
    tokens: int
    labels: int | None

    def __str__(self) -> str:
        cut = "" if self.layers is None else f", {self.layers} layers"
        return f"{self.size}{cut}, {self.texts} × {self.tokens}"


#: what is measured on a GPU
ON_GPU = {
    "bert-base": Shape("bert-base", None, 128, 256, 2),
    "llama-3.2-1b": Shape("llama-3.2-1b", None, 12, 1024, None),
    "llama-3.1-8b": Shape("llama-3.1-8b", None, 2, 1024, None),
}
#: and on a CPU: fewer layers, each of its full size
ON_CPU = {
    "bert-base": Shape("bert-base", 2, 4, 64, 2),
    "smollm2-135m": Shape("smollm2-135m", 4, 2, 64, None),
}


@dataclass
class Cost:
    """What one way to train one model costs; None: it was not measured, and `note` says why.

    Attributes:
        shape: the model and the batch.
        method: a method's name; "floor" or "full".
        whose: "pftlab" or "peft"; "" of the floor.
        step_ms: median over the rounds.
        to_floor: its ratio to the floor's in the same round, median.
        to_peft: ours to PEFT's.
        activations: bytes that the forward pass keeps for the backward pass, counted.
        held: bytes on the GPU beside the base's weights: what is trained and AdamW's moments.
        peak: most bytes on the GPU in a step, the base's weights included.
        attach_ms: to make a model of the base.
        save_ms: to a file.
        file: its size in bytes.
        load_ms: from the file into another base.
        merge_ms: into the weights.
        note: what failed.
    """

    shape: str
    method: str
    whose: str = ""
    step_ms: float | None = None
    to_floor: float | None = None
    to_peft: float | None = None
    activations: int | None = None
    held: int | None = None
    peak: int | None = None
    attach_ms: float | None = None
    save_ms: float | None = None
    file: int | None = None
    load_ms: float | None = None
    merge_ms: float | None = None
    note: str = ""


class Way:
    """One way to train a model. This one is the floor: nothing is trained."""

    name, whose = "floor", ""

    def attach(self, model: Any) -> Any:
        """The model to train, made of a frozen one."""
        model.enable_input_require_grads()  # so that the gradient passes through all of it
        return model

    def groups(self, model: Any) -> list[dict[str, Any]]:
        """What AdamW trains."""
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """Of a batch, with what the method adds to it."""
        return model(**batch).loss


class Full(Way):
    """Every parameter is trained."""

    name = "full"

    def attach(self, model: Any) -> Any:
        """All of it."""
        return model.requires_grad_(True)


class Ours(Way):
    """A method of PFT Lab with its defaults, or with what makes it PEFT's."""

    whose = "pftlab"

    def __init__(self, name: str):
        form = FORMS.get(name)
        self.name, self.method = name, METHODS[name](**(form.needs if form else {}))

    def attach(self, model: Any) -> Any:
        """The model itself, with the method in it."""
        self.method.attach(model)
        self.steps = Lifecycle(model, 1000)
        self.steps.__enter__()  # for the life of the model: what methods do in a step is left out
        return model

    def groups(self, model: Any) -> list[dict[str, Any]]:
        """As the method wishes."""
        return self.steps.parameter_groups(RATE)

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """With the method's own term."""
        return self.steps.with_extra_loss(model(**batch).loss)

    def save(self, model: Any, folder: Path) -> None:
        """As a file that PEFT reads."""
        save(model, folder)

    def load(self, model: Any, folder: Path) -> None:
        """What `save` wrote."""
        load(model, folder)

    def merge(self, model: Any) -> None:
        """Into the weights."""
        merge(model)


class Theirs(Way):
    """The same method of Hugging Face PEFT, by the configuration that is in our file.

    Args:
        name: of the method.
        folder: with our file.
    """

    whose = "peft"

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder

    def attach(self, model: Any) -> Any:
        """PEFT's model around it; of QLoRA the linear maps are first those of bitsandbytes."""
        import peft

        settings = peft.PeftConfig.from_pretrained(str(self.folder))
        settings.inference_mode = False
        if self.name == "qlora":
            _quantise_by_bitsandbytes(model, settings.target_modules)
        return peft.get_peft_model(model, settings)

    def save(self, model: Any, folder: Path) -> None:
        """As PEFT does."""
        model.save_pretrained(folder)

    def load(self, model: Any, folder: Path) -> None:
        """As PEFT does."""
        import peft

        if self.name == "qlora":
            settings = peft.PeftConfig.from_pretrained(str(folder))
            _quantise_by_bitsandbytes(model, settings.target_modules)
        peft.PeftModel.from_pretrained(model, folder)

    def merge(self, model: Any) -> None:
        """Into the weights."""
        model.merge_and_unload()


def _quantise_by_bitsandbytes(model: nn.Module, endings: Iterable[str]) -> None:
    """Put the linear maps of bitsandbytes, NF4 with double quantisation, in the place of PyTorch's.

    Args:
        model: on a GPU; changed in place.
        endings: of the paths of the modules, as PEFT lists them.
    """
    import bitsandbytes

    wanted = tuple(endings)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and path.endswith(wanted):
            new: Any = bitsandbytes.nn.Linear4bit(
                module.in_features, module.out_features, module.bias is not None,
                compute_dtype=module.weight.dtype, quant_type="nf4", device="meta",
            )  # fmt: skip
            values: Any = bitsandbytes.nn.Params4bit(
                module.weight.detach(), requires_grad=False, quant_type="nf4"
            )
            new.weight, new.bias = values.to(module.weight.device), module.bias
            model.set_submodule(path, new)


class Measured:
    """One way, its model and what is known of its cost so far.

    Args:
        bench: with the base.
        way: how it is trained.
        folder: for its file.
    """

    def __init__(self, bench: "Bench", way: Way, folder: Path):
        self.bench, self.way, self.folder = bench, way, folder
        self.cost = Cost(str(bench.shape), way.name, way.whose)
        self.model: Any = None
        self.optimiser: Any = None
        self.times: list[float] = []
        self.tried(self.begin)

    def tried(self, work: Callable[[], Any]) -> None:
        """Do `work`, unless something has failed already; what fails is noted."""
        if self.cost.note:
            return
        try:
            work()
        except Exception as error:  # of any library: a failure is a result
            words = "out of memory" if isinstance(error, torch.OutOfMemoryError) else str(error)
            self.cost.note = f"{type(error).__name__}: {words[:200]}"
            self.model = self.optimiser = None
            self.bench.clear()

    def begin(self) -> None:
        """Make the model; measure what it holds and keeps, and its file."""
        bench, cost = self.bench, self.cost
        self.way.attach(bench.model())  # what is done once in a process is not timed
        bench.clear()
        before, own = bench.allocated(), [bench.model()]
        cost.attach_ms = timed(lambda: own.append(self.way.attach(own[0])), bench.device)
        self.model = own.pop()
        if self.way.name != "full":  # for which there is no room
            bench.own_weights(p for p in self.model.parameters() if p.requires_grad)
        groups = self.way.groups(self.model)
        trained = any(group["params"] for group in groups)
        self.optimiser = torch.optim.AdamW(groups, RATE, fused=True) if trained else None
        self.step()
        cost.held = bench.allocated() - before if bench.on_gpu else None
        with bench.precision():
            cost.activations = kept_activations(self.model, bench.batch)
        self.model.zero_grad()
        if bench.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self.step()
            cost.peak = torch.cuda.max_memory_allocated() - before + bench.weights
        if isinstance(self.way, Ours | Theirs):
            way = self.way
            cost.save_ms = timed(lambda: way.save(self.model, self.folder), bench.device)
            cost.file = sum(f.stat().st_size for f in self.folder.glob("*.safetensors"))

    def step(self) -> None:
        """One step of training."""
        with self.bench.precision():
            loss = self.way.loss(self.model, self.bench.batch)
        loss.backward()
        if self.optimiser is not None:
            self.optimiser.step()
            self.optimiser.zero_grad()

    def timed_step(self) -> None:
        """One step more, by the clock."""
        self.times.append(timed(self.step, self.bench.device))

    def end(self) -> None:
        """Load the file into another model, then merge this one, with weights of its own."""
        way, bench = self.way, self.bench
        self.optimiser = None
        if not isinstance(way, Ours | Theirs):
            return
        self.cost.load_ms = timed(partial(way.load, bench.model(), self.folder), bench.device)
        bench.clear()
        if METHODS[way.name].facts.mergeable:
            bench.own_weights(self.model.parameters())
            self.cost.merge_ms = timed(lambda: way.merge(self.model), bench.device)


class Bench:
    """One shape on one device.

    Args:
        shape: the model and the batch.
        rounds: steps that are timed, of each way.
    """

    def __init__(self, shape: Shape, rounds: int):
        self.shape, self.rounds = shape, rounds
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.on_gpu = self.device == "cuda"
        torch.manual_seed(0)
        dtype = "bfloat16" if self.on_gpu else "float32"
        self.base = drawn(shape.size, shape.labels, shape.layers, self.device, dtype)
        self.base.requires_grad_(False).train()
        self.weights = sum(p.nbytes for p in self.base.parameters())
        ids = torch.randint(1000, 20000, (shape.texts, shape.tokens), device=self.device)
        labels = ids if shape.labels is None else torch.zeros_like(ids[:, 0])
        self.batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    def precision(self) -> Any:
        """Autocast on a GPU."""
        return torch.autocast(self.device, torch.bfloat16, self.on_gpu)

    def model(self) -> Any:
        """Another model; all of them share the weights, which stay frozen."""
        memo = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in self.base.parameters()
        }
        return copy.deepcopy(self.base, memo)

    def own_weights(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let these no longer share their values with the base: they will change."""
        shared = {p.data_ptr() for p in self.base.parameters()}
        for parameter in parameters:
            if parameter.data_ptr() in shared:
                parameter.data = parameter.data.clone()

    def costs(self, name: str) -> list[Cost]:
        """Of a method, or of "full": the floor's beside it, ours, and PEFT's if it has that."""
        with tempfile.TemporaryDirectory() as place:
            ours, theirs = Path(place) / "ours", Path(place) / "theirs"
            rivals = [Measured(self, Way(), ours)]
            if name == "full":
                rivals.append(Measured(self, Full(), ours))
            else:
                rivals.append(Measured(self, Ours(name), ours))
                if name in FORMS:
                    rivals.append(Measured(self, Theirs(name, ours), theirs))
            order = random.Random(0)
            for number in range(WARM_UP + self.rounds):
                for rival in order.sample(rivals, len(rivals)):
                    rival.tried(rival.step if number < WARM_UP else rival.timed_step)
            _compare(rivals)
            for rival in rivals:
                rival.tried(rival.end)
                rival.model = None
                self.clear()
            costs = [rival.cost for rival in rivals]
        del rivals, rival
        self.clear()
        return costs

    def clear(self) -> None:
        """Give back what is no longer used, so that the next way starts as this one did."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def allocated(self) -> int:
        """Bytes on the GPU now; 0 on a CPU."""
        return torch.cuda.memory_allocated() if self.on_gpu else 0


def _compare(rivals: Sequence[Measured]) -> None:
    """Write medians, and ratios of steps of one round, into the costs."""
    done = [rival for rival in rivals if not rival.cost.note]
    for one in done:
        one.cost.step_ms = statistics.median(one.times)
        for other in done:
            ratio = statistics.median(a / b for a, b in zip(one.times, other.times, strict=True))
            if other.way.name == "floor":
                one.cost.to_floor = ratio
            elif (one.way.whose, other.way.whose) == ("pftlab", "peft"):
                one.cost.to_peft = ratio


def run(
    shapes: Sequence[str],
    methods: Sequence[str],
    rounds: int,
    command: str,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure on this machine.

    Args:
        shapes: of `ON_GPU` or `ON_CPU`; or "four_bits", on a GPU: NF4 by itself.
        methods: names, or "full".
        rounds: steps that are timed, of each way.
        command: for the record.
        keep: is given what there is, after each method.

    Returns:
        {"device", "versions", "commit", "date", "command", "costs": [...], "four_bits": [...]}

    Raises:
        UnknownName: one of the shapes or methods.
    """
    known, every = shapes_here(), (*METHODS, "full")
    for name in methods:
        if name not in every:
            raise UnknownName("method", name, every)
    for word in shapes:
        if word not in known and word != "four_bits":
            raise UnknownName("shape", word, (*known, "four_bits"))
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    found: dict[str, Any] = {
        "device": device_name(),
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "costs": [],
        "four_bits": _four_bits() if "four_bits" in shapes else [],
    }
    for word in (word for word in shapes if word != "four_bits"):
        bench = Bench(known[word], rounds)
        for name in tqdm(methods, word, file=sys.stderr):
            found["costs"] += [asdict(cost) for cost in bench.costs(name)]
            if keep is not None:
                keep(found)
        del bench
    return found


def beside(here: dict[str, Any], stored: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The costs of a run, each with what others have measured of the same model and batch.

    Args:
        here: of `run`.
        stored: others, such as the book's.

    Returns:
        A cost for each way but the floor, with "elsewhere": {device: {"to_floor", "to_peft"}}.
    """
    rows = []
    for cost in here["costs"]:
        key = cost["shape"], cost["method"], cost["whose"]
        elsewhere = {
            run["device"]: {name: other[name] for name in ("to_floor", "to_peft")}
            for run in stored
            for other in run["costs"]
            if (other["shape"], other["method"], other["whose"]) == key
        }
        if cost["method"] != "floor":
            rows.append(cost | {"elsewhere": elsewhere})
    return rows


def shapes_here() -> dict[str, Shape]:
    """What is measured on this machine, by name."""
    return ON_GPU if torch.cuda.is_available() else ON_CPU


def _four_bits() -> list[dict[str, Any]]:
    from .four_bits import measured  # which needs Triton

    return measured()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="*", help=f"of {', '.join(ON_GPU)}, four_bits")
    parser.add_argument("--methods", default=",".join((*COMPARED, "full")))
    parser.add_argument("--rounds", type=int, default=12, help="timed steps (%(default)s)")
    parser.add_argument("--join", nargs="+", type=Path, default=[], help="files of earlier runs")
    parser.add_argument("--out", type=Path, default=SIDE_BY_SIDE, help="(%(default)s)")
    given = parser.parse_args()
    runs = [run for path in given.join for run in load_side_by_side(path)]
    if given.shapes:
        command = shlex.join(["python", "-m", "pftlab.experiments.benchmark", *sys.argv[1:]])

        def keep(so_far: dict[str, Any]) -> None:
            write([*runs, so_far], given.out)

        runs.append(run(given.shapes, given.methods.split(","), given.rounds, command, keep))
    write(runs, given.out)


def write(runs: list[dict[str, Any]], path: Path) -> None:
    """A file of runs, each cost on a line of its own."""
    with atomic_write(path) as temporary:
        text = json.dumps({"runs": runs}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
