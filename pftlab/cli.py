"""The command line: `pftlab --help`."""

import argparse
import inspect
import json
import re
import sys
import textwrap
import types
import typing
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .core.errors import BadValue, PftError, UnknownName
from .registry import METHODS

DESCRIPTION = """\
PFT Lab: parameter-efficient fine-tuning, from scratch.

  pftlab methods                                     what there is
  pftlab count --model roberta-base --method lora    how many parameters a method trains
  pftlab compare --base minilm --task reviews --methods linear_probe,lora,full
                                                     train several methods alike, print a table
  pftlab train --base minilm --task reviews --method lora --rank 4 --out out/
                                                     train one and save it
"""
COMPARE = """\
Train methods on one task under one protocol and print a table:

  method       with the hyper-parameters that were given
  trainable    parameters that the method trains, without the task's head
  percent      of the model's parameters
  <metric>     mean on the test split over the seeds, ± half the 95 % confidence interval
  lr           peak learning rate (each method has its own)
  seconds      of training, mean;   memory: peak, largest of the runs

Runs are appended to the file of --out as they finish. A run that is there already is not done
again: after Ctrl-C the same command goes on where it stopped.

A method's hyper-parameters go behind its name: lora:rank=4,alpha=8 or houlsby:bottleneck=16.

Examples:
  pftlab compare --task reviews --size tiny --methods linear_probe,lora --steps 50
  pftlab compare --base minilm --task sst2 \\
      --methods linear_probe,bitfit,ia3,prompt_tuning,lora,houlsby,full --seeds 3
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for an error, 130 after Ctrl-C."""
    parser = _parser()
    try:
        given, rest = parser.parse_known_args(arguments)
        if getattr(given, "takes_hyperparameters", False):
            given.hyperparameters = _hyperparameters(given.method, rest)
        elif rest:
            parser.error(f"unknown option {rest[0]!r}; see pftlab {given.name or ''} --help")
        if given.name is None:
            parser.print_help()
            return 0
        given.run(given)
    except PftError as error:
        print(f"pftlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\npftlab: stopped. What was finished is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="pftlab", description=DESCRIPTION, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"pftlab {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND")

    def command(name: str, run: Any, summary: str, description: str = "") -> Any:
        sub = commands.add_parser(
            name, help=summary, description=description or summary, formatter_class=raw
        )
        sub.set_defaults(run=run)
        return sub

    sub = command("methods", _methods, "list the methods")
    sub.add_argument("--family", help="only this family, such as low_rank")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("tasks", _tasks, "list the tasks")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("bases", _bases, "list the base models")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "count",
        _count,
        "count the parameters that a method trains",
        "Count the parameters that a method trains in a model, without loading weights.\n"
        "Any hyper-parameter of the method is an option: --rank 8 --at attention.query,ffn.up",
    )
    sub.add_argument(
        "--model",
        required=True,
        help="a known size (an unknown one lists them), a config.json or its folder, or a base",
    )
    sub.add_argument("--method", required=True, help="a method's name")
    sub.add_argument("--num-labels", type=int, help="give the model a classification head")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(takes_hyperparameters=True)

    sub = command(
        "train",
        _train,
        "train one method and save it",
        "Train one method on one task; save the checkpoint and the run's history.\n"
        "Any hyper-parameter of the method is an option: --rank 8 --dropout 0.1\n"
        "With the same --out, a run that was stopped goes on.",
    )
    _training_options(sub)
    sub.add_argument("--method", required=True, help="a method's name")
    sub.add_argument("--seed", type=int, default=0, help="of head, order and dropout")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint and state")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(takes_hyperparameters=True)

    sub = command("compare", _compare, "train methods alike and print a table", COMPARE)
    _training_options(sub)
    sub.add_argument("--methods", required=True, help="names with commas between them")
    sub.add_argument("--seeds", type=int, default=3, help="runs of each method (default 3)")
    sub.add_argument(
        "--lr-search",
        action="store_true",
        help="tune each method's learning rate: three values, by validation, at the first seed",
    )
    sub.add_argument("--workers", type=int, default=1, help="runs at a time (default 1)")
    sub.add_argument("--out", type=Path, default=Path("runs/compare.jsonl"),
                     help="file of result lines (default runs/compare.jsonl)")  # fmt: skip
    sub.add_argument("--figure", type=Path, help="write a figure here (.png, .svg or .pdf)")
    sub.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser


def _training_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--base", default="minilm", help="base model: a name, a hub id or a folder")
    sub.add_argument("--task", default="reviews", help="task: a name, or a folder of your own data")
    sub.add_argument(
        "--size", default="default", help="of a bundled task: tiny, small, default, large"
    )
    sub.add_argument("--limit-train", type=int, help="train on this many examples only")
    sub.add_argument("--steps", type=int, default=300, help="optimiser steps (default 300)")
    sub.add_argument("--batch-size", type=int, default=16, help="examples in a step (default 16)")
    sub.add_argument("--max-length", type=int, default=128, help="in tokens (default 128)")
    sub.add_argument("--lr", type=float, help="peak learning rate instead of the method's own")
    sub.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    sub.add_argument("--quiet", action="store_true", help="no progress bars")


def _methods(given: argparse.Namespace) -> None:
    rows = []
    families = sorted({cls.family for cls in METHODS.values()})
    if given.family is not None and given.family not in families:
        raise UnknownName("family", given.family, families)
    for name, cls in METHODS.items():
        if given.family in (None, cls.family):
            rows.append(
                {
                    "name": name,
                    "title": cls.title,
                    "family": cls.family,
                    "year": cls.year,
                    "merges": cls.mergeable,
                    "starts_at_base": cls.identity_at_start,
                    "hyperparameters": {f.name: _plain(f.default) for f in fields(cls)},
                    "learning_rate": cls.learning_rate,
                    "paper": cls.paper,
                    "url": cls.url,
                }
            )
    if given.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _table(
        ["name", "method", "family", "year", "merges", "paper"],
        [
            [
                r["name"],
                r["title"],
                r["family"],
                r["year"],
                "yes" if r["merges"] else "",
                r["paper"],
            ]
            for r in rows
        ],
        right=(3,),
    )


def _tasks(given: argparse.Namespace) -> None:
    from .tasks import TASKS

    rows = [
        {"name": name, "kind": card.kind, "about": card.summary} for name, card in TASKS.items()
    ]
    if given.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _table(["name", "kind", "about"], [list(row.values()) for row in rows])


def _bases(given: argparse.Namespace) -> None:
    from .bases import BASES

    rows = [{"name": name, "about": card.summary} for name, card in BASES.items()]
    if given.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _table(["name", "about"], [list(row.values()) for row in rows])


def _count(given: argparse.Namespace) -> None:
    from .core.count import count
    from .experiments.sizes import blank

    method = METHODS[given.method](**given.hyperparameters)
    model = blank(given.model, given.num_labels)
    counted = count(method.attach(model))
    if given.json:
        print(json.dumps({**asdict(counted), "percent": counted.percent}))
    else:
        print(f"{method.title} in {given.model}: {counted}")


def _train(given: argparse.Namespace) -> None:
    from .bases import load_base
    from .core.checkpoint import save
    from .core.count import count
    from .core.files import atomic_write
    from .tasks import load_task
    from .training import evaluate, train

    method = METHODS[given.method](**given.hyperparameters)
    task = load_task(given.task, size=given.size)
    if given.limit_train:
        task = task.subset(given.limit_train, seed=0)
    model = load_base(given.base, num_labels=task.num_labels, task=task.model_task, seed=given.seed)
    method.attach(model)
    run = train(
        model,
        task,
        steps=given.steps,
        batch_size=given.batch_size,
        max_length=given.max_length,
        lr=given.lr,
        precision=given.precision,
        seed=given.seed,
        folder=given.out,
        progress=not given.quiet,
    )
    if run.interrupted:
        raise KeyboardInterrupt
    save(model, given.out)
    with atomic_write(given.out / "run.json") as path:
        path.write_text(json.dumps(run.to_dict(), indent=2) + "\n", encoding="utf-8")
    test = evaluate(model, task, "test", max_length=given.max_length)
    if given.json:
        print(json.dumps({"validation": run.metrics, "test": test, **asdict(count(model))}))
        return
    print(f"{method.title}: {count(model)}")
    print(f"validation {task.metric} {run.metrics[task.metric]:.4f}, test {test[task.metric]:.4f}")
    print(f"saved in {given.out}; load it with pftlab.load(model, {str(given.out)!r})")


def _compare(given: argparse.Namespace) -> None:
    from .experiments import Grid, summarise

    if given.seeds < 1:
        raise BadValue(f"--seeds {given.seeds}: give at least 1; 3 or more for an interval.")
    if given.figure is not None and given.figure.suffix not in (".png", ".svg", ".pdf"):
        raise BadValue(f"--figure {given.figure}: the name must end in .png, .svg or .pdf.")
    grid = Grid(
        base=given.base,
        task=given.task,
        methods=tuple(parse_method(word) for word in split_methods(given.methods)),
        seeds=tuple(range(given.seeds)),
        steps=given.steps,
        batch_size=given.batch_size,
        max_length=given.max_length,
        precision=given.precision,
        size=given.size,
        limit=given.limit_train,
        search=given.lr_search,
        lr=given.lr,
        command="pftlab " + " ".join(sys.argv[1:]),
    )
    results = grid.run(given.out, workers=given.workers, progress=not given.quiet)
    rows = summarise(results)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(f"{grid.task} on {grid.base}: {grid.steps} steps of {grid.batch_size}, "
              f"{given.seeds} seed(s), {results[0].device}")  # fmt: skip
        _table(
            ["method", "trainable", "percent", rows[0].metric, "lr", "seconds", "memory"],
            [_compared(row) for row in rows],
            right=(1, 2, 3, 4, 5, 6),
        )
        print(f"The head ({rows[0].head:,} parameters) is counted apart. Lines: {given.out}")
    if given.figure is not None:
        from .plots import tradeoff

        tradeoff(rows).savefig(given.figure)


def _compared(row: Any) -> list[str]:
    defaults = {f.name: f.default for f in fields(METHODS[row.method])}
    changed = {
        k: v
        for k, v in row.hyperparameters.items()
        if k in defaults and _plain(defaults[k]) != _plain(v)
    }
    name = row.method + (":" + ",".join(f"{k}={v}" for k, v in changed.items()) if changed else "")
    spread = "" if row.interval is None else f" ± {100 * row.interval:.1f}"
    return [
        name,
        f"{row.trainable:,}",
        f"{row.percent:.3f}",
        f"{100 * row.mean:.1f}{spread}",
        f"{row.lr:.0e}",
        f"{row.seconds:.0f}",
        f"{row.peak_memory_bytes / 2**20:.0f} MiB",
    ]


def split_methods(text: str) -> list[str]:
    """Split at the commas between methods, not at those between their hyper-parameters."""
    return [
        word for word in re.split(r",(?=\s*[a-z]\w*\s*(?::|,|$))(?!\s*\w+=)", text) if word.strip()
    ]


def parse_method(text: str) -> Any:
    """A method from "name" or "name:field=value,field=value"."""
    name, _, settings = text.strip().partition(":")
    pairs = [pair.partition("=") for pair in settings.split(",") if pair]
    return METHODS[name](**{k.strip(): _read(METHODS[name], k.strip(), v) for k, _, v in pairs})


def _hyperparameters(name: str, words: list[str]) -> dict[str, Any]:
    """Options such as --rank 8 or --rank=8 as fields of the method `name`."""
    cls, values, words = METHODS[name], {}, list(words)
    while words:
        option, equals, value = words.pop(0).partition("=")
        if not option.startswith("--") or not (equals or words):
            raise BadValue(f"{option!r} is no option with a value. {_offer(cls)}")
        field = option[2:].replace("-", "_")
        values[field] = _read(cls, field, value if equals else words.pop(0))
    return values


def _offer(cls: Any) -> str:
    listing = ", ".join(f"--{f.name} (default {_plain(f.default)})" for f in fields(cls))
    return f"{cls.title} takes {listing or 'no options'}."


def _read(cls: Any, field: str, text: str) -> Any:
    """The value of a field from its text, by the field's type."""
    hints = typing.get_type_hints(cls)
    if field not in {f.name for f in fields(cls)}:
        raise BadValue(f"{cls.title} has no hyper-parameter {field!r}. {_offer(cls)}")
    kinds = [hints[field]]
    if isinstance(hints[field], types.UnionType):
        kinds = list(typing.get_args(hints[field]))
    if text.lower() == "none" and type(None) in kinds:
        return None
    kind = next(k for k in kinds if k is not type(None))
    try:
        if typing.get_origin(kind) is tuple:
            inner = typing.get_args(kind)[0]
            return tuple(inner(word) for word in re.split(r"[,+]", text))
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError, TypeError) as error:
        word = getattr(kind, "__name__", str(kind))
        raise BadValue(f"{field}={text!r}: {cls.title} wants a value of type {word}.") from error


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _table(header: list[str], rows: list[list[Any]], right: Sequence[int] = ()) -> None:
    cells = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for number, row in enumerate(cells):
        line = "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(line.rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def describe_fields(cls: Any) -> dict[str, str]:
    """What a method's docstring says of each of its fields."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("Args:")[2]
    entries = re.split(r"\n(?=\w+(?:, \w+)*: )", textwrap.dedent(text))
    found: dict[str, str] = {}
    for entry in entries:
        name, colon, meaning = entry.strip().partition(": ")
        if colon:
            found |= {n: " ".join(meaning.split()) for n in name.split(", ")}
    return found


if __name__ == "__main__":
    sys.exit(main())
