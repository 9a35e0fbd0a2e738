"""Pretrain the book's base models: one recipe for a BERT-like encoder and a GPT-2-like decoder.

    python -m pftlab.bases.pretrain prepare --out runs --corpus text --teacher MiniLM
    python -m pftlab.bases.pretrain encoder --out runs --held-out held.jsonl --teacher MiniLM
    python -m pftlab.bases.pretrain decoder --out runs2 --prepared runs --held-out held.jsonl
    python -m pftlab.bases.pretrain measure --start runs --held-out held.jsonl

`--start FOLDER` goes on from the models that an earlier run left in that folder. Each model keeps
its history beside its weights (`history.py`), from which its card is written (`model_card.py`).

**Encoder.** Masked language modelling (Devlin et al., 2019), plus distillation from a sentence
encoder (as in Sun et al., 2020; Jiao et al., 2020). Without a teacher, a small model stays on a
plateau for a thousand steps and its fine-tuning hardly beats random weights. The teacher reads the
unmasked text; the student, which sees part of it masked, learns to give

* for every token, the teacher's states of the same piece of text (two layers of it, linearly), and
* in its pooled output, the teacher's mean state of the whole stretch: so the pooler is trained, and
  a linear probe reads meaning from the start.

Two kinds of batches alternate: short rows (a sentence, or a phrase from anywhere; half of them
unmasked) and long rows of two segments. Every second one has its text rewritten as lower-cased,
word-by-word tokenised data sets have it.

**Decoder.** Next-token prediction on rows cut anywhere from the corpus.

Both: AdamW, warm-up and a linear decay to zero (which makes a moving average of the weights
superfluous), no dropout, bfloat16 with float32 weights, torch.compile, the corpus resident on the
device. All sizes are trained side by side on the same batches: the teacher reads each batch once.
Ctrl-C writes a checkpoint and ends. A run that ended early, or was killed, resumes from its last
checkpoint with the same batches, as each step seeds its own random numbers; on one CPU the result
is the same to the bit, on a GPU up to the order of sums.
"""

import argparse
import datetime
import json
import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm.auto import tqdm

from pftlab.core.errors import BadCheckpoint, PftError, Unavailable
from pftlab.core.files import atomic_write, check_writable
from pftlab.core.interrupt import stop_on_interrupt

from .corpus import (
    SEPARATOR,
    Corpus,
    Spelling,
    cut_pieces,
    ends_sentence,
    read_documents,
    spell_table,
)
from .held_out import HeldOut, precision
from .history import own_entries, read_history, write_history
from .objectives import DecoderObjective, EncoderObjective, Objective, Teacher
from .students import (
    SIZES,
    DecoderStudent,
    EncoderStudent,
    Student,
    load_model,
    save_model,
)
from .tokenizer import (
    save_vocabulary,
    spaced,
    token_id,
    train_tokenizer,
)

WARM_UP = 1000  # steps
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05
CLIP = 1.0


def learning_rate_factor(step: int, done: float, warm_up: int) -> float:
    """Rise linearly over the warm-up, and fall linearly to zero as `done` goes from 0 to 1."""
    return min((step + 1) / warm_up, 1.0 - done)


def pretrain(
    students: Mapping[str, Student],
    rates: dict[str, float],
    objective: Objective,
    held_out: HeldOut | None,
    out: Path,
    *,
    steps: int,
    minutes: float | None = None,
    warm_up: int = WARM_UP,
    seed: int = 0,
    evaluate_every: int = 2000,
    progress: bool = True,
) -> Iterator[int]:
    """Train all students on the same batches; yield the step after every checkpoint.

    Ctrl-C ends after the step at hand, with a checkpoint; the same call goes on from there.

    Args:
        students: name → model with its loss.
        rates: name → peak learning rate.
        objective: where batches come from.
        held_out: what to measure on; None for nothing.
        out: folder of `checkpoint.pt` and `log.jsonl`. A checkpoint there is resumed.
        steps: in all, earlier runs counted in; at most that many if `minutes` is given.
        minutes: end after that long; the learning rate then falls by the clock.
        warm_up: steps in which the learning rate rises.
        seed: of batches and masks.
        evaluate_every: steps between two measurements, each with a checkpoint.
        progress: whether to show a progress bar.
    """
    out, device = check_writable(out), objective.device
    groups = []
    for name, student in students.items():
        matrices = [p for p in student.parameters() if p.ndim > 1]
        others = [p for p in student.parameters() if p.ndim <= 1]
        groups.append({"params": matrices, "peak": rates[name], "weight_decay": WEIGHT_DECAY})
        groups.append({"params": others, "peak": rates[name], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=device.type == "cuda")
    first, seconds_before = _resume(out, students, optimizer, steps)
    generator = torch.Generator(device)
    started, log = time.perf_counter() - seconds_before, out / "log.jsonl"
    recent: dict[str, list[Tensor]] = {}

    bar = tqdm(range(first, steps), initial=first, total=steps, disable=not progress)
    with stop_on_interrupt() as interrupted:
        for step in bar:
            seconds = time.perf_counter() - started
            done = min(1.0, seconds / (60 * minutes)) if minutes else step / steps
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * learning_rate_factor(step, done, warm_up)
            batch = objective.batch(step, generator.manual_seed(seed * 1_000_003 + step))
            for name, student in students.items():
                with precision(device):
                    losses = student(batch)
                losses["loss"].backward()
                nn.utils.clip_grad_norm_(student.parameters(), CLIP)
                for kind, value in losses.items():
                    recent.setdefault(f"{name}/{kind}", []).append(value.detach())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            last = step + 1 == steps or done == 1.0
            measure = (step + 1) % evaluate_every == 0 or last
            if measure or (step + 1) % 100 == 0 or interrupted.is_set():
                entry: dict[str, float] = {"step": step + 1}
                entry |= {key: torch.stack(values).mean().item() for key, values in recent.items()}
                entry["seconds"] = seconds
                recent.clear()
                bar.set_postfix({k: f"{v:.3f}" for k, v in entry.items() if k.endswith("/loss")})
                if held_out is not None and measure:
                    for name, student in students.items():
                        with torch.compiler.set_stance("force_eager"):  # shapes of its own
                            measured = held_out.measure(student)
                        entry |= {f"{name}/held_out/{k}": v for k, v in measured.items()}
                _append(log, entry)
            if measure or interrupted.is_set():
                _checkpoint(out, students, optimizer, step + 1, seconds)
                yield step + 1
            if last or interrupted.is_set():
                return


def _append(log: Path, entry: dict[str, float]) -> None:
    with open(log, "a", encoding="utf-8") as stream:
        stream.write(json.dumps({k: round(v, 5) for k, v in entry.items()}) + "\n")


def _checkpoint(
    out: Path,
    students: Mapping[str, Student],
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    state = {
        "step": step,
        "seconds": seconds,
        "students": {name: student.state_dict() for name, student in students.items()},
        "optimizer": optimizer.state_dict(),
    }
    with atomic_write(out / "checkpoint.pt") as temporary:
        torch.save(state, temporary)


def _resume(
    out: Path, students: Mapping[str, Student], optimizer: torch.optim.Optimizer, steps: int
) -> tuple[int, float]:
    """Restore the last checkpoint, cut the log back to it; return its step and its seconds."""
    path, log = out / "checkpoint.pt", out / "log.jsonl"
    if not path.exists():
        log.unlink(missing_ok=True)
        return 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if set(state["students"]) != set(students) or state["step"] > steps:
        raise BadCheckpoint(
            f"{str(path)!r} holds {', '.join(state['students'])} at step {state['step']}, and this "
            f"run is of {', '.join(students)} to step {steps}. Give another --out folder."
        )
    for name, student in students.items():
        student.load_state_dict(state["students"][name])
    optimizer.load_state_dict(state["optimizer"])
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= state["step"]]
    with atomic_write(log) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return state["step"], state["seconds"]


def learn_vocabulary(texts: Sequence[str]) -> Tokenizer:
    """Train the tokenizer on a quarter of the texts, every second one in lower-cased style."""
    plain = train_tokenizer([], vocabulary=262 + 256)

    def styled() -> Iterator[str]:
        for index, text in enumerate(texts[::4]):
            if index % 2:
                cut = plain.pre_tokenizer.pre_tokenize_str(plain.normalizer.normalize_str(text))
                text = " ".join(s[1:] for s in (spaced(piece) for piece, _ in cut) if s)
            yield text

    return train_tokenizer(styled())


def prepare(
    texts: Sequence[str], tokenizer: Tokenizer, teacher: Path | None, processes: int = 1
) -> Corpus:
    """Cut texts into pieces and spell these for the student and, if there is one, the teacher."""
    pieces = cut_pieces(texts, tokenizer, processes)
    border = token_id(tokenizer, "[SEP]")

    def plain(piece: str) -> list[int]:
        return [token.id for token in tokenizer.model.tokenize(piece)]

    def with_border(spell: Callable[[str], list[int]], border: int) -> Spelling:
        return spell_table(pieces.table, lambda p: [border] if p == SEPARATOR else spell(p))

    spellings = {
        "plain": with_border(plain, border),
        "spaced": with_border(lambda piece: plain(spaced(piece)), border),
    }
    if teacher is not None:
        theirs = Tokenizer.from_file(str(teacher / "tokenizer.json"))
        theirs.no_padding()
        theirs.no_truncation()
        bare = [spaced(piece)[1:] for piece in pieces.table]
        encoded = theirs.encode_batch(bare, add_special_tokens=False)
        known = {piece: encoding.ids for piece, encoding in zip(pieces.table, encoded, strict=True)}
        spellings["teacher"] = with_border(lambda p: known[p], token_id(theirs, "[SEP]"))
    closing = np.array([ends_sentence(piece) for piece in pieces.table])
    return Corpus(pieces.row, closing, spellings)


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pftlab.bases.pretrain", description="Pretrain the base models of the book."
    )
    parser.add_argument("work", choices=("prepare", "encoder", "decoder", "measure"))
    parser.add_argument("--out", type=Path, help="folder for all that is made (not for measure)")
    parser.add_argument("--corpus", type=Path, help="folder of .jsonl or .jsonl.xz (prepare)")
    parser.add_argument("--held-out", type=Path, help="file of documents to measure on")
    parser.add_argument("--teacher", type=Path, help="folder of a BERT-like sentence encoder")
    parser.add_argument(
        "--tokenizer", type=Path, help="vocabulary.json to use; else one is learned"
    )
    parser.add_argument("--processes", type=int, default=1, help="to cut the corpus with")
    parser.add_argument("--prepared", type=Path, help="folder that prepare wrote (default: --out)")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--start", type=Path, help="folder of models that go on, or are measured")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, help="end after that long, if before --steps")
    parser.add_argument("--tokens-per-step", type=int, default=131_072)
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="steps")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--evaluate-every", type=int, default=2_000, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true", help="for a CPU, or to find a fault")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = arguments()
    options = parser.parse_args(argv)
    torch.manual_seed(options.seed)
    if options.work == "measure":
        if options.start is None or options.held_out is None:
            parser.error("measure needs --start and --held-out")
        _measure(options)
        return
    if options.out is None:
        parser.error(f"{options.work} needs --out")
    out = check_writable(options.out)
    if options.work == "prepare":
        if options.corpus is None:
            parser.error("prepare needs --corpus")
        _prepare(options, out)
    else:
        _train(options, out)


def _prepare(options: argparse.Namespace, out: Path) -> None:
    held_out = [options.held_out] if options.held_out else []
    documents = read_documents(options.corpus, without=held_out)
    texts = [document["text"] for document in documents]
    sources: dict[str, dict[str, int]] = {}
    for document in documents:
        found = sources.setdefault(document.get("source", "all"), {"documents": 0, "bytes": 0})
        found["documents"] += 1
        found["bytes"] += len(document["text"].encode())
    random.Random(options.seed).shuffle(texts)
    if options.tokenizer:
        tokenizer = Tokenizer.from_file(str(options.tokenizer))
    else:
        tokenizer = learn_vocabulary(texts)
    save_vocabulary(tokenizer, out / "vocabulary.json")
    prepare(texts, tokenizer, options.teacher, options.processes).save(out / "corpus.npz")
    with atomic_write(out / "corpus.json") as temporary:
        temporary.write_text(json.dumps(sources), encoding="utf-8")


def _train(options: argparse.Namespace, out: Path) -> None:
    device = torch.device(options.device)
    prepared = options.prepared or out
    tokenizer = Tokenizer.from_file(str(prepared / "vocabulary.json"))
    corpus = Corpus.load(prepared / "corpus.npz")
    documents = read_documents(options.held_out) if options.held_out else []
    objective: Objective
    held_out_objective: Objective
    students: Mapping[str, Student]
    teacher = None
    if options.work == "encoder":
        teacher = Teacher(options.teacher, device) if options.teacher else None
        if teacher is not None and not options.no_compile:
            teacher.compile_parts()
        size = options.tokens_per_step
        objective = held_out_objective = EncoderObjective(corpus, tokenizer, teacher, size, device)
        if documents:
            unseen = prepare([d["text"] for d in documents], tokenizer, options.teacher)
            held_out_objective = EncoderObjective(unseen, tokenizer, teacher, size, device)
        width = teacher.width if teacher else 0
        students = {n: EncoderStudent(SIZES[n], tokenizer, width) for n in options.sizes}
        rates = {n: SIZES[n].encoder_rate for n in options.sizes}
    else:
        objective = DecoderObjective(corpus, tokenizer, options.tokens_per_step, device)
        held_out_objective = objective
        students = {n: DecoderStudent(SIZES[n], tokenizer) for n in options.sizes}
        rates = {n: SIZES[n].decoder_rate for n in options.sizes}
    rates = {name: options.rate * rate for name, rate in rates.items()}
    earlier: dict[str, list[dict[str, Any]]] = {name: [] for name in students}
    for name, student in students.items():
        if options.start is not None:
            load_model(student, options.start / f"{name}-{options.work}")
            earlier[name] = read_history(options.start / f"{name}-{options.work}")["runs"]
        student.to(device)
        if not options.no_compile:
            student.compile_parts()
    held_out = HeldOut(documents, tokenizer, held_out_objective, device) if documents else None
    run = {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "transformers", "tokenizers")},
        "corpus": json.loads((prepared / "corpus.json").read_text(encoding="utf-8")),
        "corpus_tokens": int(corpus.spellings["plain"].lengths[corpus.row].sum()),
        "teacher": options.teacher.name if teacher is not None else None,
        "tokens_per_step": options.tokens_per_step,
        "warm_up": options.warm_up,
        "seed": options.seed,
    }
    for step in pretrain(
        students,
        rates,
        objective,
        held_out,
        out,
        steps=options.steps,
        minutes=options.minutes,
        warm_up=options.warm_up,
        seed=options.seed,
        evaluate_every=options.evaluate_every,
    ):
        for name, student in students.items():
            folder = out / f"{name}-{options.work}"
            save_model(student, tokenizer, folder)
            log = own_entries(out / "log.jsonl", name)
            mine = {"steps": step, "seconds": log[-1]["seconds"], "rate": rates[name]}
            write_history(folder, {"runs": [*earlier[name], run | mine | {"log": log}]})


def _measure(options: argparse.Namespace) -> None:
    """Measure saved models on held-out text, and keep it in their histories."""
    device = torch.device(options.device)
    documents = read_documents(options.held_out)
    folders = [f for f in sorted(options.start.iterdir()) if (f / "history.json").is_file()]
    if not folders:
        raise Unavailable(
            f"{str(options.start)!r} holds no model that the recipe saved. Give the --out folder "
            "of a run."
        )
    for folder in folders:
        size, kind = folder.name.split("-")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        student: Student
        if kind == "encoder":
            unseen = prepare([d["text"] for d in documents], tokenizer, None)
            student = EncoderStudent(SIZES[size], tokenizer, 0)
            tokens = options.tokens_per_step
            objective: Objective = EncoderObjective(unseen, tokenizer, None, tokens, device)
        else:
            student = DecoderStudent(SIZES[size], tokenizer)
            objective = DecoderObjective(prepare([""], tokenizer, None), tokenizer, 1, device)
        load_model(student, folder)
        held_out = HeldOut(documents, tokenizer, objective, device)
        measured = held_out.measure(student.to(device))
        write_history(folder, read_history(folder) | {"held_out": measured})
        print(folder.name, json.dumps(measured))


if __name__ == "__main__":
    try:
        main()
    except PftError as error:
        raise SystemExit(f"error: {error}") from error
