"""The ladder: the recipe at growing sizes, all at once, one process a model, on all GPUs there are.

Every model is trained on the same number of tokens (but the encoder-decoder that ships, which is
trained longer), with checkpoints on the way, so that an experiment can ask what size and what
pretraining do:

    OUT/decoder-8m/                       the model, as `load_base` opens it, with its history
    OUT/checkpoints/decoder-8m/at-1-16/   … after a sixteenth of the steps, also -8, -4, -2
    OUT/seq2seq-3m-lm/                    the same encoder-decoder after LM adaptation
    OUT/checkpoints/seq2seq-3m-lm/…       … after shorter ones
    OUT/ladder.json                       measured losses, times and checksums
    OUT/logs/                             what each process printed
    OUT/runs/                             states, from which the same command goes on

Encoders learn from a teacher as well, as those that ship do; by masked language modelling alone all
five of them stayed on their first plateau, at 5.8 nats a masked token, for 3,072 steps.
"""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..bases.history import own_entries, read_history, write_history
from ..bases.ladder import ADAPTED, FRACTIONS, LADDER, Rung, checkpoint_name
from ..core.errors import Unavailable
from ..core.files import atomic_write
from .corpus import Corpus, read_documents
from .held_out import HeldOut
from .objectives import (
    ContinuationObjective,
    DecoderObjective,
    EncoderObjective,
    MaskedObjective,
    Objective,
    SpanObjective,
    Teacher,
)
from .preparation import prepare
from .recipe import pretrain
from .students import (
    DecoderStudent,
    EncoderStudent,
    Seq2SeqStudent,
    Student,
    StudentSize,
    save_model,
)
from .tokenizer import with_sentinels

STEPS = 3072
TOKENS = 32_768  # a step: encoders leave their first plateau by steps, not by tokens
WARM_UP = 0.1  # of the steps
ADAPTATION = 0.2  # steps of LM adaptation for each of pretraining; in Lester et al. at most 0.1
ADAPTATION_RATE = 0.3  # of the peak rate of pretraining
LOOK_AGAIN = 5.0  # seconds between two looks at the processes

# Peak learning rates fall with the width, so that those of the shipped models lie on the line.
RATE_TIMES_WIDTH = {"decoder": 0.384, "encoder": 0.2, "seq2seq": 0.384}


def train_rung(
    name: str,
    corpus: Corpus,
    documents: Sequence[dict[str, str]],
    tokenizer: Tokenizer,
    out: Path,
    about: dict[str, Any],
    *,
    device: torch.device,
    steps: int = STEPS,
    tokens: int = TOKENS,
    minutes: float | None = None,
    teacher: Path | None = None,
    compiled: bool = True,
    seed: int = 0,
) -> None:
    """Train one model of the ladder, and adapt it if it is an encoder-decoder.

    Args:
        name: one of `LADDER`.
        corpus: to learn from.
        documents: to measure on; never learned from.
        tokenizer: of the book, without sentinels.
        out: folder of the ladder.
        about: what the history says of corpus, device and versions.
        device: to train on.
        steps: of a model that is not trained longer than others.
        tokens: of a step, about.
        minutes: at most so many; the learning rate then falls by the clock, over fewer steps.
        teacher: folder of a BERT-like encoder, which `corpus` is spelled for as well; encoders
            learn from it. None: masked language modelling alone.
        compiled: whether to use torch.compile.
        seed: of weights and batches.
    """
    rung = LADDER[name]
    torch.manual_seed(seed)
    rate = RATE_TIMES_WIDTH[rung.kind] / rung.width
    if rung.kind == "seq2seq":
        tokenizer = with_sentinels(tokenizer)
    taught_by = Teacher(teacher, device) if teacher and rung.kind == "encoder" else None
    student = _student(rung, tokenizer, taught_by.width if taught_by else 0).to(device)
    if compiled:
        student.compile_parts()
        if taught_by is not None:
            taught_by.compile_parts()
    unseen = prepare(
        [d["text"] for d in documents], tokenizer, teacher if taught_by is not None else None
    )

    def make(task: str, text: Corpus) -> Objective:
        if task == "spans":
            return SpanObjective(text, tokenizer, tokens, device)
        if task == "continuation":
            return ContinuationObjective(text, tokenizer, tokens, device)
        if task == "next token":
            return DecoderObjective(text, tokenizer, tokens, device)
        if taught_by is not None:
            return EncoderObjective(text, tokenizer, taught_by, tokens, device)
        return MaskedObjective(text, tokenizer, tokens, device)

    def learn(called: str, task: str, steps: int, rate: float, minutes: float | None,
              earlier: list[dict[str, Any]]) -> None:  # fmt: skip
        objective, on_unseen = make(task, corpus), make(task, unseen)
        held_out = HeldOut(documents, tokenizer, on_unseen, device)
        marks = {max(1, round(steps * f)): f for f in FRACTIONS}
        warm_up = max(1, round(WARM_UP * steps))
        for record in pretrain(
            {called: student}, {called: rate}, objective, held_out, out / "runs" / called,
            steps=steps, minutes=minutes, warm_up=warm_up, seed=seed,
            evaluate_every=steps, evaluate_at=marks, progress=False,
        ):  # fmt: skip
            log = own_entries(record.history, called)
            run = about | {
                "objective": type(objective).__name__,
                "teacher": teacher.name if teacher and taught_by is not None else None,
                "tokens_per_step": tokens,
                "steps": record.steps,
                "planned_steps": steps,
                "rate": rate,
                "warm_up": warm_up,
                "seed": seed,
                "seconds": log[-1]["seconds"],
                "log": log,
            }
            folders = [out / called]  # at every checkpoint anew, so that a kill leaves the last
            if record.steps in marks:
                mark = checkpoint_name(marks[record.steps])
                folders.append(out / "checkpoints" / called / mark)
            for folder in folders:
                save_model(student, tokenizer, folder)
                write_history(folder, {"runs": [*earlier, run]})
            print(called, json.dumps(log[-1]), flush=True)

    steps = steps * rung.longer
    if rung.kind == "seq2seq":
        share = None if minutes is None else minutes / (1 + ADAPTATION)
        learn(name, "spans", steps, rate, share, [])
        earlier = read_history(out / name)["runs"]
        share = None if share is None else share * ADAPTATION
        steps = max(1, round(steps * ADAPTATION))
        adapted = f"{name}{ADAPTED}"
        learn(adapted, "continuation", steps, rate * ADAPTATION_RATE, share, earlier)
    else:
        task = "masked" if rung.kind == "encoder" else "next token"
        learn(name, task, steps, rate, minutes, [])


def _student(rung: Rung, tokenizer: Tokenizer, teacher_width: int) -> Student:
    size = StudentSize(rung.layers, rung.width, rung.heads, encoder_rate=0.0, decoder_rate=0.0)
    if rung.kind == "encoder":
        return EncoderStudent(size, tokenizer, teacher_width)
    if rung.kind == "decoder":
        return DecoderStudent(size, tokenizer)
    return Seq2SeqStudent(size, tokenizer)


def climb(
    names: Sequence[str], command: Callable[[str, bool], list[str]], out: Path, cards: int
) -> dict[str, int]:
    """Train models side by side, each in a process of its own, and wait for all.

    A model whose process fails is tried once more, without torch.compile; the others go on.

    Args:
        names: of the models.
        command: given a name and whether to compile, the arguments of the process.
        out: folder of the ladder.
        cards: GPUs to spread them over; 0 trains one after the other on the CPU.

    Returns:
        The exit status of each model's last process.
    """
    (out / "logs").mkdir(parents=True, exist_ok=True)
    places = spread(names, cards)
    waiting, ended = list(names), dict[str, int]()
    running: dict[str, tuple[bool, subprocess.Popen[bytes]]] = {}

    def start(name: str, compiled: bool) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "2", "TORCHINDUCTOR_COMPILE_THREADS": "4"}
        if cards:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            numbers = visible.split(",") if visible else [str(n) for n in range(cards)]
            environment["CUDA_VISIBLE_DEVICES"] = numbers[places[name]]
        with open(out / "logs" / f"{name}.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                command(name, compiled), env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            running[name] = compiled, process

    began = time.perf_counter()
    try:
        while waiting or running:
            while waiting and (cards or not running):
                start(waiting.pop(0), compiled=bool(cards))
            for name, (compiled, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                if process.returncode and compiled:
                    print(f"{name} failed; once more without torch.compile", flush=True)
                    start(name, compiled=False)
                    continue
                ended[name] = process.returncode
                seconds = time.perf_counter() - began
                print(f"{name} ended with {process.returncode} after {seconds:.0f} s", flush=True)
            time.sleep(LOOK_AGAIN if cards else 0.2)
    finally:
        for _, process in running.values():
            process.terminate()
    return ended


def spread(names: Sequence[str], cards: int) -> dict[str, int]:
    """Which card trains which model: the longest first, each where it ends soonest."""
    loads = [0.0] * max(1, cards)
    places = {}
    for name in sorted(names, key=_effort, reverse=True):
        places[name] = loads.index(min(loads))
        loads[places[name]] += _effort(name)
    return places


def _effort(name: str) -> float:
    """About how long a model takes: small ones are bound by kernel launches, not by arithmetic."""
    rung = LADDER[name]
    millions = (12 if rung.kind != "seq2seq" else 15) * rung.layers * rung.width**2 / 1e6
    return (20 + millions) * rung.longer**0.5


def write_summary(names: Sequence[str], ended: dict[str, int], out: Path) -> None:
    """Write `ladder.json`: for each model its status, and for each folder loss and checksum."""
    found: dict[str, Any] = {}
    for name in names:
        entry: dict[str, Any] = {"status": ended[name]}
        for called in (name, f"{name}{ADAPTED}"):
            checkpoints = (out / "checkpoints" / called).glob("at-*")
            for folder in (*sorted(checkpoints), out / called):
                if not (folder / "history.json").is_file():
                    continue
                run = read_history(folder)["runs"][-1]
                with open(folder / "model.safetensors", "rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                entry[str(folder.relative_to(out))] = {
                    "steps": run["steps"],
                    "of": run["planned_steps"],
                    "seconds": run["seconds"],
                    "measured": run["log"][-1],
                    "sha256": sha256,
                }
        found[name] = entry
    with atomic_write(out / "ladder.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    failed = [name for name, status in ended.items() if status]
    if failed:
        raise Unavailable(
            f"{', '.join(failed)} could not be trained; {str(out / 'logs')!r} tells why. The same "
            "command goes on where they stopped, and leaves what is done."
        )


def load_documents(path: Path | None) -> list[dict[str, str]]:
    """The held-out documents.

    Raises:
        Unavailable: none are given; a ladder without measurements is of no use.
    """
    if path is None:
        raise Unavailable("The ladder is measured on text of its own. Give --held-out FILE.")
    return read_documents(path)
