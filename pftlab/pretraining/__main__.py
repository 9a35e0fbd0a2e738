"""The command line of the recipe; see `pftlab.pretraining`."""

import argparse
import datetime
import json
import os
import platform
import random
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..bases.cards import WEIGHTS
from ..bases.history import own_entries, read_history, write_history
from ..bases.ladder import LADDER
from ..core.errors import PftError, Unavailable
from ..core.files import atomic_write, check_writable
from .corpus import Corpus, read_documents
from .held_out import HeldOut
from .ladder import STEPS, TOKENS, climb, load_documents, train_rung, write_summary
from .objectives import DecoderObjective, EncoderObjective, Objective, SpanObjective, Teacher
from .preparation import learn_vocabulary, prepare
from .recipe import WARM_UP, pretrain
from .students import (
    STUDENT_SIZES,
    DecoderStudent,
    EncoderStudent,
    Seq2SeqStudent,
    Student,
    load_model,
    save_model,
)
from .tokenizer import save_vocabulary

WORKS = ("prepare", "encoder", "decoder", "measure", "ladder", "rung")


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pftlab.pretraining", description="Pretrain the base models of the book."
    )
    parser.add_argument(
        "work", choices=("prepare", "encoder", "decoder", "measure", "ladder", "rung")
    )
    parser.add_argument("--out", type=Path, help="folder for all that is made (not for measure)")
    parser.add_argument(
        "--corpus", type=Path, help="folder of .jsonl or .jsonl.xz (prepare, ladder)"
    )
    parser.add_argument("--held-out", type=Path, help="file of documents to measure on")
    parser.add_argument(
        "--teacher", type=Path, help="folder of a BERT-like encoder; of the ladder mini-encoder"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="vocabulary.json to use; else one is learned"
    )
    parser.add_argument("--processes", type=int, default=1, help="to cut the corpus with")
    parser.add_argument("--prepared", type=Path, help="folder that prepare wrote (default: --out)")
    parser.add_argument(
        "--sizes", nargs="+", choices=tuple(STUDENT_SIZES), default=list(STUDENT_SIZES)
    )
    parser.add_argument(
        "--rungs", nargs="+", choices=tuple(LADDER), default=list(LADDER), help="of the ladder"
    )
    parser.add_argument("--start", type=Path, help="folder of models that go on, or are measured")
    parser.add_argument("--steps", type=int, help=f"default: 20,000; of the ladder {STEPS:,}")
    parser.add_argument("--minutes", type=float, help="end after that long, if before --steps")
    parser.add_argument("--tokens-per-step", type=int, help=f"131,072; of the ladder {TOKENS:,}")
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
    of_ladder = options.work in ("ladder", "rung")
    options.steps = options.steps or (STEPS if of_ladder else 20_000)
    options.tokens_per_step = options.tokens_per_step or (TOKENS if of_ladder else 131_072)
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
    elif options.work == "ladder":
        _ladder(options, out)
    elif options.work == "rung":
        _rung(options, out)
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
        students = {n: EncoderStudent(STUDENT_SIZES[n], tokenizer, width) for n in options.sizes}
        rates = {n: STUDENT_SIZES[n].encoder_rate for n in options.sizes}
    else:
        objective = DecoderObjective(corpus, tokenizer, options.tokens_per_step, device)
        held_out_objective = objective
        students = {n: DecoderStudent(STUDENT_SIZES[n], tokenizer) for n in options.sizes}
        rates = {n: STUDENT_SIZES[n].decoder_rate for n in options.sizes}
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
    run = _about(corpus, prepared, device) | {
        "teacher": options.teacher.name if teacher is not None else None,
        "tokens_per_step": options.tokens_per_step,
        "warm_up": options.warm_up,
        "seed": options.seed,
    }
    for record in pretrain(
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
            log = own_entries(record.history, name)
            mine = {"steps": record.steps, "seconds": log[-1]["seconds"], "rate": rates[name]}
            write_history(folder, {"runs": [*earlier[name], run | mine | {"log": log}]})


def _about(corpus: Corpus, prepared: Path, device: torch.device) -> dict[str, Any]:
    """What a history says of the text, the device and the versions."""
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "transformers", "tokenizers")},
        "corpus": json.loads((prepared / "corpus.json").read_text(encoding="utf-8")),
        "corpus_tokens": int(corpus.spellings["plain"].lengths[corpus.row].sum()),
    }


def _ladder(options: argparse.Namespace, out: Path) -> None:
    """Prepare the corpus if need be, and train the ladder: a process a model, on all GPUs."""
    load_documents(options.held_out)
    options.teacher = options.teacher or WEIGHTS / "mini-encoder"
    prepared = options.prepared or out
    if not (prepared / "corpus.npz").is_file():
        if options.corpus is None:
            raise Unavailable("The ladder reads text. Give --corpus FOLDER, or --prepared FOLDER.")
        options.tokenizer = options.tokenizer or WEIGHTS / "tiny-decoder" / "tokenizer.json"
        options.processes = max(options.processes, os.cpu_count() or 1)  # 150 s of one core
        _prepare(options, prepared)
    cards = torch.cuda.device_count() if options.device.startswith("cuda") else 0

    def command(name: str, compiled: bool) -> list[str]:
        passed = ["rung", "--out", out, "--prepared", prepared, "--held-out", options.held_out]
        passed += ["--rungs", name, "--steps", options.steps, "--seed", options.seed]
        passed += ["--tokens-per-step", options.tokens_per_step, "--device", options.device]
        passed += ["--teacher", options.teacher]
        passed += ["--minutes", options.minutes] if options.minutes else []
        passed += [] if compiled and not options.no_compile else ["--no-compile"]
        return [sys.executable, "-m", "pftlab.pretraining", *map(str, passed)]

    ended = climb(options.rungs, command, out, cards)
    write_summary(options.rungs, ended, out)


def _rung(options: argparse.Namespace, out: Path) -> None:
    """Train the models named, one after the other, in this process."""
    device = torch.device(options.device)
    prepared = options.prepared or out
    corpus = Corpus.load(prepared / "corpus.npz")
    for name in options.rungs:
        train_rung(
            name,
            corpus,
            load_documents(options.held_out),
            Tokenizer.from_file(str(prepared / "vocabulary.json")),
            out,
            _about(corpus, prepared, device),
            device=device,
            steps=options.steps,
            tokens=options.tokens_per_step,
            minutes=options.minutes,
            teacher=options.teacher,
            compiled=not options.no_compile,
            seed=options.seed,
        )


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
            student = EncoderStudent(STUDENT_SIZES[size], tokenizer, 0)
            tokens = options.tokens_per_step
            objective: Objective = EncoderObjective(unseen, tokenizer, None, tokens, device)
        elif kind == "seq2seq":
            unseen = prepare([d["text"] for d in documents], tokenizer, None)
            student = Seq2SeqStudent(STUDENT_SIZES[size], tokenizer)
            objective = SpanObjective(unseen, tokenizer, options.tokens_per_step, device)
        else:
            student = DecoderStudent(STUDENT_SIZES[size], tokenizer)
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
