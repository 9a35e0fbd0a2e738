"""A page for each method, made when the book is built: book/methods/<name>.md, of plain MyST.

What it says is in the method's row of facts, its module and the stored results, so that a new
method has its card as soon as it has its row. `_toc.yml` takes the pages up as a pattern, and git
leaves them out.
"""

import inspect
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

from pftlab.book.exercises.catalogue import CHAPTERS
from pftlab.book.plots import varied
from pftlab.experiments.results import load_results
from pftlab.experiments.summary import Summary, summarise
from pftlab.facts import FACTS, FAMILIES, Facts
from pftlab.registry import METHODS
from pftlab.scores import score_of

from .taxonomy import chapter_of

INDEX = "book/methods.ipynb"
FOLDER = "book/methods"
BESIDE = ("full", "linear_probe")  # what every result is compared with
NO_BASE = "(random weights)"


def setup(app: Sphinx) -> None:
    # Before the table of contents looks which pages there are.
    app.connect("config-inited", write, priority=100)


def write(app: Sphinx, config: Config) -> None:
    """Write the pages that are missing or say something else; remove those of no method."""
    source = Path(app.srcdir)
    if not (source / INDEX).is_file():
        return
    folder = source / FOLDER
    folder.mkdir(exist_ok=True)
    rows = results()
    for left in {path.stem for path in folder.glob("*.md")} - FACTS.keys():
        (folder / f"{left}.md").unlink()
    for name, facts in FACTS.items():
        page, text = folder / f"{name}.md", card(facts, rows, source, config.pft_repository)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def results() -> list[Summary]:
    """The book's rows over several seeds on pretrained bases; of a setting, the one most sure."""
    best: dict[tuple[str, ...], Summary] = {}
    for row in summarise(load_results()):
        if row.interval is None or row.base.endswith(NO_BASE) or "(" in row.base:
            continue
        key = (row.base, row.task, row.method, repr(sorted(row.hyperparameters.items())))
        if key not in best or _sure(row) > _sure(best[key]):
            best[key] = row
    return sorted(best.values(), key=lambda row: (row.task, row.base, row.trainable))


def _sure(row: Summary) -> tuple[bool, int, float]:
    """Whether its rate was searched for; how many seeds; its validation score."""
    return row.lr_from == "search", row.seeds, score_of(row.metric).worth(row.validation)


def card(facts: Facts, rows: list[Summary], source: Path, repository: str) -> str:
    """The page of one method, as MyST text."""
    method = METHODS[facts.name]
    module = inspect.getsourcefile(method)
    assert module
    place = f"pftlab/{Path(module).parent.name}/{Path(module).name}"
    summary = (inspect.getdoc(method) or "").partition("\n\n")[0].replace("\n", " ")
    shown = f"[`{place}`]({repository}/blob/main/{place})" if repository else f"`{place}`"
    return f"""(method-{facts.name})=
# {facts.title}

{summary} {{cite:p}}`{facts.reference}`

`````{{div}} pft-card
```{{method-drawing}} {facts.name}
```

````{{div}} pft-card-words
$$
{facts.equation}
$$

{facts.symbols}

{_table(facts)}
````
`````

## What it reached

{_reached(facts, rows)}

## Its code

All of {shown}: the class `pftlab.{method.__name__}`, on the command line `{facts.name}`.

```{{literalinclude}} ../../{place}
:language: python
```

## Where to go on

{_links(facts, source)}
"""


def _table(facts: Facts) -> str:
    method = METHODS[facts.name]
    where = facts.where or ", ".join(f"`{name}`" for name in method.at or ())
    lines = [
        ("family", f"{FAMILIES[facts.family].title}, since {facts.year}"),
        ("acts at", where),
        ("merges into the weights", "yes" if facts.mergeable else "no"),
        ("starts as the base", "yes" if facts.identity_at_start else "no"),
        ("a usual learning rate", f"{facts.learning_rate:g}"),
    ]
    rows = "\n".join(f"* - {name}\n  - {said}" for name, said in lines)
    return f"```{{list-table}}\n{rows}\n```"


def _reached(facts: Facts, rows: list[Summary]) -> str:
    """Its rows beside full fine-tuning and the head alone on the same base and task."""
    own = [row for row in rows if row.method == facts.name]
    if not own:
        return "There are no stored runs of it over several seeds."
    lines = [
        "| base, task | setting | test score | trained | of all | seeds |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for base, task in dict.fromkeys((row.base, row.task) for row in own):
        there = [row for row in rows if (row.base, row.task) == (base, task)]
        mine = [row for row in there if row.method == facts.name]
        others = [row for row in there if row.method in BESIDE and row.method != facts.name]
        for row in (*mine, *others):
            score = score_of(row.metric)
            name = _setting(row, mine) if row in mine else FACTS[row.method].title
            mark = "**" if row in mine else ""
            lines.append(
                f"| `{base}`, {task} | {mark}{name}{mark} "
                f"| {mark}{score.number(row.mean)} ± {score.number(row.interval or 0)}{mark} "
                f"| {row.trainable:,} | {_percent(row)} | {row.seeds} |"
            )
    metrics = {row.metric: score_of(row.metric) for row in own}
    what = "; ".join(f"{score.axis} on the test split" for score in metrics.values())
    return "\n".join(
        [
            f"Test scores are {what}: means over the seeds, with half the 95 % confidence "
            "interval. The head is counted apart.",
            "",
            *lines,
        ]
    )


def _setting(row: Summary, rows: list[Summary]) -> str:
    """The method's title, with what sets the row apart from its others, in words."""
    differs = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in varied(row, rows).items()
    ]
    return FACTS[row.method].title + (f" ({'; '.join(differs)})" if differs else "")


def _percent(row: Summary) -> str:
    return f"{row.percent:.2g} %" if row.percent < 99 else "all"


def _links(facts: Facts, source: Path) -> str:
    """Links to the chapter, the family, the exercises, the paper and the tables."""
    title = FAMILIES[facts.family].title.capitalize()
    chapter, family = chapter_of(facts).removeprefix("book/"), f"{facts.family}/index"
    if facts.family == "finetune":
        family = "foundations/finetuning"
    links = []
    if (source / f"book/{chapter}.ipynb").is_file():
        about = CHAPTERS[chapter.replace("/", ".")]
        links.append(f"The chapter that teaches it: [{about}](../{chapter}.ipynb)")
    if family != chapter and (source / f"book/{family}.ipynb").is_file():
        links.append(f"Its family, run and compared: [{title}](../{family}.ipynb)")
    for page in dict.fromkeys((chapter, family)):
        if page.replace("/", ".") in CHAPTERS and (source / f"book/{page}.ipynb").is_file():
            about = CHAPTERS[page.replace("/", ".")]
            links.append(f"Exercises: [{about}](../{page}.ipynb#exercises)")
    works = "[What works where](../appendix/matrix.ipynb)"
    if (source / "book/appendix/matrix.ipynb").is_file():
        links.append(f"The models that it was tested on: {works}")
    if (source / "book/comparison/explore.ipynb").is_file():
        links.append("Beside the other methods: [Explore](../comparison/explore.ipynb)")
    links.append(f"The paper: {{cite:t}}`{facts.reference}`, <{facts.url}>")
    links.append("[All methods](../methods.ipynb)")
    return "\n".join(f"* {link}" for link in links)
