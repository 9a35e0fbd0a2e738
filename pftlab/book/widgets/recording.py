"""A training of LoRA, recorded step by step: what `TrainingScrubber` plays.

    python -m pftlab.book.widgets.recording        makes the stored file anew, in half a minute

The stored file has three runs of `tiny-encoder` on the task `reviews`, that differ in their
learning rate alone: too low, about right, too high.
"""

import base64
import datetime
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...bases import load_base, load_tokenizer
from ...core import planted
from ...core.errors import BadValue
from ...core.files import atomic_write
from ...experiments.origin import VERSIONS, commit, device_name
from ...low_rank.lora import LoRA, LowRank
from ...tasks import Task, load_task
from ...training import train
from .data import RECORDING

COMMAND = "python -m pftlab.book.widgets.recording"
BASE, TASK = "tiny-encoder", "reviews"
RATES = (1e-3, 1e-2, 3e-2)
STEPS, EVERY = 60, 2  # a frame is taken at the start and after every second step
SHOWN = 12  # rows of B and columns of A that are kept
MOST = 12  # sentences to look at


@dataclass
class Frames:
    """What was seen at the start and after every `EVERY` steps.

    Attributes:
        sites: layer and kind, such as "query", of each matrix.
        logits: for each frame, of the test texts (texts, classes).
        matrices: for each frame, B (d_out, r) and A (r, d_in) of each site.
        scale: α / r.
    """

    sites: list[tuple[int, str]] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    matrices: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)
    scale: float = 1.0


@dataclass(frozen=True)
class WatchedLoRA(LoRA):
    """LoRA that is looked at while it trains. It trains as LoRA does.

    Args: as for LoRA.
    """

    facts = LoRA.facts

    def watch(self, batch: dict[str, Tensor]) -> Frames:
        """From the next training on, take frames, with the logits of this batch."""
        vars(self)["_batch"], vars(self)["_frames"] = (
            batch,
            Frames(),
        )  # they are no hyper-parameters
        return vars(self)["_frames"]

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        super().before_training(model, batches, total_steps)
        self._take(model)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        super().after_step(model, step, total_steps)
        if step % EVERY == 0:
            self._take(model)

    @torch.no_grad()
    def _take(self, model: nn.Module) -> None:
        frames: Frames = vars(self)["_frames"]
        layers = {(site.path, site.name): site.layer or 0 for site in self.sites(model)}
        found = [
            (layers[path, delta.site_name], delta.site_name.partition(".")[2], delta)
            for path, _, _, delta in planted(model, self.attached_as(model))
            if isinstance(delta, LowRank)
        ]
        frames.sites = [(layer, kind) for layer, kind, _ in found]
        frames.scale = found[0][2].scale
        frames.matrices.append([(d.B.detach().clone(), d.A.detach().clone()) for *_, d in found])
        training = model.training
        frames.logits.append(model.eval()(**vars(self)["_batch"]).logits)
        model.train(training)


def record(
    base: str = BASE, task: Task | None = None, rates: tuple[float, ...] = RATES, steps: int = STEPS
) -> dict[str, Any]:
    """Train LoRA at each of these rates and keep what can be looked at, as JSON can hold it.

    Returns:
        What the runs share (base, task, method, training, versions, …), `steps` of the frames,
        `sites`, `sentences`, and `runs`, each with its `lr`, `losses` of all steps, and for each
        frame the `accuracy` on the test texts, the probability of the right label for each
        sentence (`sure`), the singular values of s B A at each site (`singular`), and the first
        `shown` rows of B and columns of A (`entries`, a byte each, in units of `units`).

    Raises:
        BadValue: the number of steps is not a multiple of `EVERY`.
    """
    if steps < EVERY or steps % EVERY:
        raise BadValue(f"steps={steps}: frames are taken every {EVERY} steps. Give a multiple.")
    task = task or load_task(TASK).subset(100, split="validation").subset(300, split="test")
    tokenizer = load_tokenizer(base)
    batch = task.collate(tokenizer)(task.encode(tokenizer, "test"))
    labels = batch.pop("labels")
    rows = list(task.splits["test"])
    chosen = _of_each_form(rows)
    settings: dict[str, Any] = {
        "steps": steps,
        "batch_size": 16,
        "evaluate_every": steps,
        "seed": 0,
    }
    method, shared, runs = WatchedLoRA(), {}, []
    for lr in rates:
        frames = method.watch(batch)
        torch.manual_seed(0)
        model: Any = method.attach(load_base(base, num_labels=task.num_labels, seed=0))
        run = train(model, task, lr=lr, progress=False, **settings)
        runs.append({"lr": lr, "losses": [round(loss, 4) for _, loss in run.losses]}
                    | _frames(frames, labels, chosen))  # fmt: skip
        found = model.pftlab_base
        first_B, first_A = frames.matrices[0][0]
        shared = {
            "base": {"name": base, "sha256": found.sha256},
            "sites": [list(site) for site in frames.sites],
            "scale": frames.scale,
            "rank": first_A.shape[0],
            "width": max(first_B.shape[0], first_A.shape[1]),
        }
    return shared | {
        "task": {"name": task.name, "fingerprint": task.fingerprint, "test": len(rows)},
        "method": {"name": method.name, **asdict(method)},
        "training": settings,
        "labels": list(task.labels),
        "sentences": [{"text": rows[i]["text"], "label": rows[i]["label"]} for i in chosen],
        "steps": list(range(0, steps + 1, EVERY)),
        "shown": SHOWN,
        "runs": runs,
        "device": device_name(),
        "versions": {"python": platform.python_version(), **{v: version(v) for v in VERSIONS}},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": COMMAND,
    }


def _of_each_form(rows: list[dict[str, Any]]) -> list[int]:
    """Where the first text of each form and label is."""
    first: dict[tuple[str, int], int] = {}
    for i, row in enumerate(rows):
        first.setdefault((row.get("form", ""), row["label"]), i)
    return sorted(first.values())[:MOST]


def _frames(frames: Frames, labels: Tensor, chosen: list[int]) -> dict[str, Any]:
    chances = torch.stack(frames.logits).softmax(-1)  # (frames, texts, classes)
    right = chances.argmax(-1) == labels
    sure = chances[:, chosen, labels[chosen]]
    singular = [
        torch.cat([singular_values(B, A, frames.scale) for B, A in each])
        for each in frames.matrices
    ]
    corners = [[(B[:SHOWN], A[:, :SHOWN]) for B, A in each] for each in frames.matrices]
    units = [
        max(float(pair[k].abs().max()) for each in corners for pair in each) / 127 or 1.0
        for k in (0, 1)
    ]
    bytes_ = [
        (part / unit).round().to(torch.int8).flatten()
        for each in corners
        for pair in each
        for part, unit in zip(pair, units, strict=True)
    ]
    return {
        "accuracy": [round(float(score), 4) for score in right.float().mean(1)],
        "sure": [" ".join(f"{value:.3f}" for value in row) for row in sure.tolist()],
        "singular": [
            " ".join(f"{value:.3g}" for value in row) for row in torch.stack(singular).tolist()
        ],
        "units": [float(f"{unit:.5g}") for unit in units],
        "entries": base64.b64encode(torch.cat(bytes_).numpy().tobytes()).decode(),
    }


def singular_values(B: Tensor, A: Tensor, scale: float) -> Tensor:
    """Those of scale · B A that can be other than zero (r,), from two small triangles."""
    return scale * torch.linalg.svdvals(torch.linalg.qr(B).R @ torch.linalg.qr(A.T).R.T)


def main(arguments: list[str]) -> None:
    """Make the stored file anew, or another file that is named."""
    path = Path(arguments[0]) if arguments else RECORDING
    text = json.dumps(record(), ensure_ascii=False, indent=0)
    with atomic_write(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
