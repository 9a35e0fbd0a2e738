"""What the commands do. Heavy imports wait until a command needs them."""

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BadCheckpoint, BadValue, Unavailable, UnknownName
from ..core.files import atomic_write, check_writable, parse_json
from ..facts import FAMILIES
from ..registry import METHODS, facts_of
from ..scores import score_of
from .hyperparameters import (
    changed,
    given_options,
    hyperparameters,
    parse,
    split_methods,
    written,
)
from .table import print_table

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..core.method import Method
    from ..experiments import Grid, Summary
    from ..tasks import Task

FIGURES = (".png", ".svg", ".pdf")


def methods(given: argparse.Namespace) -> None:
    """List the methods, or describe one."""
    if given.method_name is not None:
        method = METHODS[given.method_name]
        if given.json:
            _print_json(_known(method))
        else:
            _describe(method)
        return
    if given.family is not None and given.family not in FAMILIES:
        raise UnknownName("family", given.family, FAMILIES)
    rows = []
    for name in METHODS:
        try:
            rows.append(facts_of(name))
        except Unavailable as error:  # another package offers it and is broken
            print(f"pftlab: {error}", file=sys.stderr)
    rows = [row for row in rows if given.family in (None, row.family)]
    if given.json:
        _print_json([_known(METHODS[row.name]) for row in rows])
        return
    print_table(
        ["name", "method", "family", "merges", "lr", "paper"],
        [
            [
                row.name,
                row.title,
                row.family,
                "yes" if row.mergeable else "",
                f"{row.learning_rate:g}",
                row.paper,
            ]
            for row in rows
        ],
    )


def _known(method: "type[Method]") -> dict[str, Any]:
    """What is known of a method, for JSON."""
    fields = [asdict(field) for field in hyperparameters(method)]
    return vars(facts_of(method.name)) | {"hyperparameters": fields}


def _describe(method: "type[Method]") -> None:
    surveys = f" (in surveys: {method.surveys})" if method.surveys else ""
    print(f"{method.title} ({method.name}), family {method.family}{surveys}, {method.year}")
    print(f"{method.paper}\n{method.url}\n")
    print(f"acts at: {method.where or ', '.join(method.at or ())}")
    print(f"models for: {', '.join(method.model_tasks)}")
    print(f"folds into the weights: {'yes' if method.mergeable else 'no'}")
    print(f"starts as the base model: {'yes' if method.identity_at_start else 'no'}")
    print(f"learning rate: {method.learning_rate:g}\n")
    if found := hyperparameters(method):
        print_table(
            ["option", "type", "default", "meaning"],
            [
                ["--" + f.name.replace("_", "-"), f.kind, written(f.default), f.meaning]
                for f in found
            ],
        )


def tasks(given: argparse.Namespace) -> None:
    """List the tasks."""
    from ..tasks import TASKS

    rows = [
        {
            "name": name,
            "kind": card.kind,
            "score": card.metrics[0],
            "about": card.summary,
            "licence": card.licence,
            "citation": card.citation,
        }
        for name, card in TASKS.items()
    ]
    if given.json:
        _print_json(rows)
    else:
        shown = ["name", "kind", "score", "about"]
        print_table(shown, [[row[key] for key in shown] for row in rows])


def bases(given: argparse.Namespace) -> None:
    """List the base models."""
    from ..bases import BASES

    if given.json:
        _print_json([asdict(card) for card in BASES.values()])
        return
    print_table(
        ["name", "parameters", "about"],
        [[name, f"{card.parameters:,}", card.summary] for name, card in BASES.items()],
        right=(1,),
    )


def fetch(given: argparse.Namespace) -> None:
    """Make sure that a base is on this machine and whole."""
    from ..bases import BASES
    from ..bases.load import fetch as fetch_base

    found = fetch_base(given.name)
    if given.json:
        _print_json({"name": given.name, "origin": found.origin, "folder": str(found.folder)})
        return
    print(f"{given.name}, from {found.origin}: {found.folder}")
    if given.name in BASES and BASES[given.name].note:
        print(BASES[given.name].note)


def count(given: argparse.Namespace) -> None:
    """Count what a method trains in a model."""
    method, values = _method_of(given)
    from ..core.count import count as count_parameters
    from ..experiments.sizes import blank

    counted = count_parameters(method(**values).attach(blank(given.model, given.num_labels)))
    if given.json:
        _print_json({**asdict(counted), "percent": counted.percent})
    else:
        print(f"{changed(method, values)} in {given.model}: {counted}")


def train(given: argparse.Namespace) -> None:
    """Train one method and save it."""
    cls, values = _method_of(given)
    check_writable(given.out)
    from ..core.count import count as count_parameters
    from ..registry import save
    from ..training import fine_tune

    method, task = cls(**values), _task_of(given)

    def tell(model: "PreTrainedModel") -> None:
        if not given.quiet:
            print(f"{method.title} in {given.base}: {count_parameters(model)}", file=sys.stderr)

    done = fine_tune(
        given.base,
        method,
        task,
        seed=given.seed,
        forgetting=given.forgetting,
        begin=tell,
        steps=given.steps,
        batch_size=given.batch_size,
        max_length=given.max_length,
        lr=given.lr,
        precision=given.precision,
        capture=given.capture,
        pack=given.pack,
        like_lengths=given.like_lengths,
        folder=given.out,
        progress=not given.quiet,
    )
    model, run, test, lost = done.model, done.run, done.test, done.forgetting
    if run.interrupted:
        raise KeyboardInterrupt
    save(model, given.out)
    with atomic_write(given.out / "run.json") as path:
        record = {**run.to_dict(), "test": test, "forgetting": lost and asdict(lost)}
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if given.json:
        counts = asdict(count_parameters(model))
        forgetting = {"forgetting": asdict(lost)} if lost else {}
        _print_json({"validation": run.metrics, "test": test, **forgetting, **counts})
        return
    score = task.metric
    print(f"validation {score} {run.metrics[score]:.4f}, test {score} {test[score]:.4f}")
    if lost:
        print(f"What the base knew: {lost}")
    print(f"Saved in {given.out}; pftlab.load(model, {str(given.out)!r}) attaches it again.")


def evaluate(given: argparse.Namespace) -> None:
    """Score a base, or what was trained on it, and show answers."""
    import torch

    from ..bases import load_base, load_tokenizer
    from ..registry import load
    from ..training import answers as answer
    from ..training import evaluate as score

    task = _task_of(given)
    if task.num_labels is not None and given.adapter is None:
        raise BadValue(
            f"{task.name!r} is answered by a head, which nobody has trained yet: its score would "
            "be chance. Give --adapter, the folder that pftlab train wrote; or --in-words, for a "
            "language model that answers without a head."
        )
    model = load_base(given.base, num_labels=task.num_labels, task=task.model_task)
    if given.adapter is not None:
        load(model, given.adapter)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    options: dict[str, Any] = {
        "tokenizer": load_tokenizer(model),
        "max_length": given.max_length,
        "batch_size": given.batch_size,
        "shots": given.shots,
        "max_new_tokens": given.max_new_tokens,
        "seed": given.seed,
        "progress": not given.quiet,
    }
    scores = score(model, task, given.split, limit=given.limit, **options)
    shown = []
    if given.answers:
        shown = list(answer(model, task, given.split, n=given.answers, **options))
    if given.json:
        _print_json({"scores": scores, "answers": [asdict(row) for row in shown]})
        return
    for name, value in scores.items():
        print(f"{given.split} {name} {value:.4f}")
    for i, row in enumerate(shown, start=1):
        print(f"\n{i}\n{row}")


def export(given: argparse.Namespace) -> None:
    """Write what was trained as a plain model."""
    from ..core.files import check_empty
    from ..deployment import export as export_model
    from ..deployment.opening import open_adapted
    from ..training import Forgetting, Run

    check_empty(given.out)
    model = open_adapted(given.base, given.folder, given.num_labels)
    run, test, lost = None, None, None
    if (given.folder / "run.json").is_file():  # `pftlab train` has written it
        record = parse_json((given.folder / "run.json").read_bytes(), "run.json")
        test = record.get("test")
        try:
            run = Run.from_dict({k: v for k, v in record.items() if k in Run.__dataclass_fields__})
            if (told := record.get("forgetting")) is not None:
                lost = Forgetting(str(told["metric"]), float(told["before"]), float(told["after"]))
        except (ValueError, TypeError, KeyError) as error:
            raise BadCheckpoint(
                f"run.json in {str(given.folder)!r} is not what pftlab train writes: {error}. Copy "
                "it again, or remove it: the card will not tell of the training."
            ) from error
    export_model(model, given.out, run=run, test=test, forgetting=lost, onnx=given.onnx)
    print(f"Written to {given.out}; its README.md says how to open it.")


def serve(given: argparse.Namespace) -> None:
    """Answer questions over HTTP."""
    from ..deployment.extras import check_extra

    check_extra("serve")
    adapters = {}
    for word in given.adapter:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder):
            raise BadValue(f"--adapter {word}: write NAME=FOLDER, such as reviews=out/.")
        if name in adapters:
            raise BadValue(f"--adapter {word}: {name!r} is given twice. Name them differently.")
        adapters[name] = folder
    for option in ("batch", "queue"):
        if getattr(given, option) < 1:
            raise BadValue(f"--{option} {getattr(given, option)}: give at least 1.")
    import torch

    from ..deployment.backbone import Backbone
    from ..deployment.server import make_app, run

    backbone = Backbone(
        given.base,
        adapters,
        num_labels=given.num_labels,
        longest=given.max_length,
        device=given.device,
        dtype=torch.bfloat16 if given.precision == "bf16" else None,
    )
    app = make_app(backbone, batch=given.batch, room=given.queue)

    def tell(address: str) -> None:
        print(f"{', '.join(backbone.adapters)}: {address}/adapters", flush=True)

    run(app, given.host, given.port, tell)


def compare(given: argparse.Namespace) -> None:
    """Train methods under one protocol and print a table."""
    chosen = [parse(word) for word in split_methods(given.methods)]
    if given.seeds < 1:
        raise BadValue(f"--seeds {given.seeds}: give at least 1; 3 or more for an interval.")
    if given.figure is not None:
        if given.figure.suffix not in FIGURES:
            raise BadValue(f"--figure {given.figure}: the name must end in {', '.join(FIGURES)}.")
        check_writable(given.figure.parent)
    from ..experiments import Grid, Protocol, run, summarise
    from ..experiments.progress import Done, Row

    if given.out.suffix != ".jsonl":
        raise BadValue(f"--out {given.out}: give the name of a .jsonl file.")
    grid = Grid.of(
        given.base,
        given.task,
        tuple(cls(**values) for cls, values in chosen),
        Protocol(
            steps=given.steps,
            batch_size=given.batch_size,
            max_length=given.max_length,
            precision=given.precision,
            evaluations=given.evaluations,
            seeds=tuple(range(given.seeds)),
            search=given.lr_search,
            rates=_rates(given.rates) if given.rates else (),
            lr=given.lr,
        ),
        command=shlex.join(["pftlab", *given.words]),
        size=given.size,
        limit=given.limit_train,
        pretrained=not given.random_weights,
        capture=given.capture,
    )
    grid.try_methods()
    run(grid, given.out, workers=given.workers, progress=not given.quiet)
    done = Done.read(grid, given.out)
    found = [Row(cell, done) for cell in grid.cells]
    failures = [failure for row in found for failure in row.failures]
    rows = summarise(result for row in found for result in row.results)
    if given.json:
        _print_json([{**asdict(row), "percent": row.percent} for row in rows])
    elif rows:
        _print_comparison(grid, rows, given.out)
    for failure in failures:
        print(f"{failure.method}, seed {failure.seed}: {failure.error}", file=sys.stderr)
    if given.figure is not None and rows:
        from ..book.plots import save_figure, tradeoff

        save_figure(tradeoff(rows), given.figure)


def _print_comparison(grid: "Grid", rows: list["Summary"], out: Path) -> None:
    first, cell = rows[0], grid.cells[0]
    protocol = cell.protocol
    print(
        f"{cell.task_name} on {cell.base_name}: {protocol.steps} steps of {protocol.batch_size}, "
        f"{len(protocol.seeds)} seed{'s' * (len(protocol.seeds) > 1)}, {first.device}"
    )
    score = score_of(first.metric).axis
    print_table(
        ["method", "trainable", "percent", score, "forgets", "lr", "seconds", "memory"],
        [_compared(row) for row in rows],
        right=(1, 2, 3, 4, 5, 6, 7),
    )
    notes = [f"The head ({first.head:,} parameters) is trained by every method and counted apart."]
    if protocol.search:
        notes.append(
            "Learning rates: the best of one grid of half-decades for all methods, by the "
            f"validation split and {len(protocol.search_seeds)} other seeds."
        )
        if edge := [_name(row) for row in rows if not row.inside]:
            notes.append(
                f"At the edge of the grid, so that a better rate may lie beyond: {', '.join(edge)}."
            )
    elif protocol.lr is None:
        notes.append(
            "Learning rates: each method's default, not tuned for this task (--lr-search does)."
        )
    notes.append(f"Result lines: {out}")
    print("\n".join(notes))


def _compared(row: "Summary") -> list[str]:
    score = score_of(row.metric)
    spread = "" if row.interval is None else f" ± {score.number(row.interval)}"
    memory = row.memory_bytes / 2**20
    return [
        _name(row),
        f"{row.trainable:,}",
        f"{row.percent:.3f}",
        f"{score.number(row.mean)}{spread}",
        "" if row.forgets is None else f"{row.forgets:+.3f}",
        f"{row.lr:g}",
        f"{row.seconds:.0f}",
        f"{memory:,.0f} MiB" if memory >= 10 else f"{memory:.2g} MiB",
    ]


def bench(given: argparse.Namespace) -> None:
    """Measure what methods cost on this machine, and print it beside what the book measured."""
    if given.rounds < 1:
        raise BadValue(f"--rounds {given.rounds}: give at least 1 step that is timed.")
    if given.out is not None:
        check_writable(given.out.parent)
    from ..experiments.benchmark import beside, run, write
    from ..experiments.results import load_side_by_side

    command = shlex.join(["pftlab", *given.words])
    here = run(given.shapes.split(","), given.methods.split(","), given.rounds, command)
    if given.out is not None:
        write([here], given.out)
    rows = beside(here, load_side_by_side())
    if given.json:
        _print_json({**here, "costs": rows})
        return
    print(here["device"])
    places = list(dict.fromkeys(place for row in rows for place in row["elsewhere"]))
    shape = ""
    for row in rows:
        if row["shape"] != shape:
            shape = row["shape"]
            print(f"\n{shape}")
            print_table(
                ["method", "of", "ms", "/ floor", "/ PEFT", "kept", "attach", "merge", "file",
                 *(f"/ floor, {place}" for place in places)],
                [_cost(row, places) for row in rows if row["shape"] == shape],
                right=tuple(range(2, 9 + len(places))),
            )  # fmt: skip
    for row in rows:
        if row["note"]:
            print(f"{row['method']} of {row['whose']}: {row['note']}")
    if not places:
        print("\nThe book has no costs of this model and batch from elsewhere.")


def _cost(row: dict[str, Any], places: list[str]) -> list[str]:
    def number(value: float | None, form: str = ".2f") -> str:
        return "" if value is None else format(value, form)

    def size(value: int | None) -> str:
        return "" if value is None else f"{value / 2**20:,.1f} MiB"

    return [
        row["method"],
        row["whose"],
        number(row["step_ms"], ",.1f"),
        number(row["to_floor"]),
        number(row["to_peft"]),
        size(row["activations"]),
        number(row["attach_ms"], ",.0f"),
        number(row["merge_ms"], ",.0f"),
        size(row["file"]),
        *(number(row["elsewhere"].get(place, {}).get("to_floor")) for place in places),
    ]


def _name(row: "Summary") -> str:
    return changed(METHODS[row.method], row.hyperparameters)


def experiment(given: argparse.Namespace) -> None:
    """Run a grid from its file, say how far it is, show its tables, check or repeat its lines."""
    from . import experiments

    getattr(experiments, given.action)(given)


def _method_of(given: argparse.Namespace) -> tuple["type[Method]", dict[str, Any]]:
    """Method and values from --method and the options of its hyper-parameters."""
    method, values = parse(given.method)
    return method, values | given_options(method, given)


def _task_of(given: argparse.Namespace) -> "Task":
    from ..tasks import load_task

    task = load_task(given.task, size=given.size)
    if getattr(given, "in_words", None) is not None:  # of train and evaluate
        words = given.class_words.split(",") if given.class_words else None
        task = task.in_words(words, given.in_words or None)
    limit: int | None = getattr(given, "limit_train", None)  # evaluate trains on nothing
    return task if limit is None else task.subset(limit, seed=0)


def _rates(words: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words.split(","))
    except ValueError as error:
        raise BadValue(f"--rates {words}: give numbers with commas between them.") from error


def _print_json(data: Any) -> None:
    everything = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(data, indent=2, ensure_ascii=not everything))


def classroom(given: argparse.Namespace) -> None:
    """Release student notebooks, grade them, print the rubric, or copy the figures."""
    from ..book.classroom import grade, release, rubric
    from ..book.classroom.submissions import printable
    from ..book.exercises.slides import figures

    if given.action == "release":
        for path in release(given.chapters, given.out, given.book):
            print(path)
    elif given.action == "rubric":
        print(rubric(given.chapters))
    elif given.action == "figures":
        print(f"{len(figures(given.out, given.book))} figures: {given.out / 'figures.md'}")
    else:
        grades = grade(
            given.folder, given.out, given.chapters, given.seconds, given.megabytes,
            quiet=given.quiet, unconfined=given.unconfined, image=given.image,
        )  # fmt: skip
        table, overview, reports = (printable(str(place)) for place in grades.written)
        print(f"{len(grades.rows)} submissions: {table}, {overview}, reports in {reports}")
        for name, reason in grades.left_out:
            print(f"Not taken: {name}: {reason}")


def progress(given: argparse.Namespace) -> None:
    """Show what the learner has done."""
    from ..book.exercises.progress import Progress, load_progress

    if given.json:
        _print_json(load_progress())
    else:
        print(Progress())
