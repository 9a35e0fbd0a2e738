"""Real tasks: one table, and how to fetch what it names. No data are part of this package."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from .card import TaskCard
from .columns import Row, rename
from .folder import find_split, read_folder
from .metrics import METRICS
from .rows import SPLITS, as_datasets, check, complete, whole
from .task import Task

CONVERTED = "refs/convert/parquet"  # the branch of a data set that holds the hub's conversion
SENTIMENT = ("negative", "positive")


@dataclass(frozen=True)
class Hub:
    """Where a data set is on the Hugging Face hub, and how its rows are to be read.

    Attributes:
        path: "owner/name".
        config: the part of a collection.
        revision: branch or commit; None for the newest.
        converted: whether to read the hub's own conversion to Parquet. Older data sets are only a
            Python script, which `datasets` rightly no longer runs.
        columns: our name → theirs.
        names: their name of a label → ours, where they differ.
        splits: our name → theirs.
        adapt: rewrites a row that no renaming of columns can bring into our form.
    """

    path: str
    config: str | None = None
    revision: str | None = None
    converted: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=lambda: {s: s for s in SPLITS})
    adapt: Callable[[Row], Row] | None = None


@dataclass(frozen=True, kw_only=True)
class RealTask(TaskCard):
    """A published data set.

    Attributes:
        folder: its name inside a folder of tasks; by default the name of the task.
        hub: where to download it; None where the hub has no such data set.
        origin: where the data are, if not on the hub.
        prepare: puts a row, from either source, into words for a model.
        notes: what a reader of the numbers must know.
    """

    folder: str | None = None
    hub: Hub | None = None
    origin: str = ""
    prepare: Callable[[Row], Row] | None = None
    notes: tuple[str, ...] = ()

    @property
    def folder_name(self) -> str:
        """What a folder of this task is called."""
        return self.folder or self.name

    def load(self, *, size: str, seed: int, data: Path | None) -> Task:
        """Load from `data`, from PFTLAB_DATA, or from the hub, in this order."""
        if size != "default":
            raise BadValue(
                f"size={size!r} was given for {self.name!r}, a real task, which has one size. "
                "Leave it out, and take load_task(...).subset(n) for fewer training examples."
            )
        folder = self._find(data)
        if folder is not None:
            found = read_folder(folder)
            splits = found.splits
            names = found.info.get("label_names") or self.labels
            source = f"folder {folder.name}"
        elif self.hub is None:
            raise Unavailable(
                f"{self.name!r} is not on this machine, and the Hugging Face hub has no such data "
                f"set. Take it from {self.origin}, put it into a folder {self.folder_name}/ as "
                "train.jsonl (with validation.jsonl and test.jsonl, if you have them), and name "
                "the folder above it in the environment variable PFTLAB_DATA or in data=."
            )
        else:
            splits, names = fetch(self.folder_name, self.hub)
            source = " ".join(filter(None, ("hub", self.hub.path, self.hub.config)))
        return self._build(splits, names, source)

    def _find(self, data: Path | None) -> Path | None:
        if data is not None:
            for candidate in (data / self.folder_name, data):
                if find_split(candidate, "train"):
                    return candidate
            raise Unavailable(
                f"There is no {self.folder_name}/train.jsonl.gz in {str(data)!r}. Give the folder "
                f"that holds the folder {self.folder_name!r}, or leave data out to download "
                f"{self.name!r} from the hub."
            )
        place = os.environ.get("PFTLAB_DATA")
        if not place:
            return None
        candidate = Path(place) / self.folder_name
        return candidate if find_split(candidate, "train") else None

    def _build(self, splits: Mapping[str, list[Row]], names: Sequence[str], source: str) -> Task:
        """Check the rows and number their labels as the table does, whatever their source."""
        labels = self.labels or tuple(sorted(names or _texts(splits)))
        checked = {}
        for split, rows in splits.items():
            if self.prepare is not None:
                rows = [self.prepare(row) for row in rows]
            named = [name_labels(row, names) for row in rows]
            checked[split] = check(named, self.kind, labels, f"{split!r} of {self.name!r}")
        complete_splits, notes = complete(checked)
        return Task(
            name=self.name,
            kind=self.kind,
            labels=labels,
            metrics={name: METRICS[name] for name in self.metrics},
            splits=as_datasets(complete_splits),
            source=source,
            licence=self.licence,
            citation=self.citation,
            notes=(*self.notes, *notes),
            instruction=self.told,
        )


def _texts(splits: Mapping[str, list[Row]]) -> set[str]:
    """The labels that are written as texts."""
    labels = (row.get("label") for rows in splits.values() for row in rows)
    return {label for label in labels if isinstance(label, str)}


def name_labels(row: Row, names: Sequence[str]) -> Row:
    """Write the labels of a row as names, so that two sources may number them differently."""
    if not names:
        return row
    if "tags" in row:
        return {**row, "tags": [_name(tag, names) for tag in row["tags"]]}
    return {**row, "label": _name(row["label"], names)}


def _name(label: Any, names: Sequence[str]) -> Any:
    number = None if label in names else whole(label)  # a CSV file has numbers as text
    return label if number is None or not 0 <= number < len(names) else names[number]


def fetch(folder: str, hub: Hub) -> tuple[dict[str, list[Row]], list[str]]:
    """Download a data set, or take it from the cache of `datasets`, and rename its parts.

    Args:
        folder: what a folder of the same data would be called, for the advice in the error.
        hub: where to find it.

    Returns:
        The splits whose labels are public, and the names of the labels.

    Raises:
        Unavailable: the hub cannot be reached, or no longer has it.
    """
    place: dict[str, Any] = {"name": hub.config, "revision": hub.revision}
    if hub.converted:
        files = {theirs: f"{hub.config}/{theirs}/*.parquet" for theirs in hub.splits.values()}
        place = {"data_files": files, "revision": CONVERTED}
    try:
        downloaded = _load_dataset(hub.path, **place)
    except Exception as error:  # the network, the hub and the file formats have their own errors
        raise Unavailable(
            f"{folder!r} is not on this machine, and the data set {hub.path!r} cannot be fetched "
            f"from the Hugging Face hub ({type(error).__name__}). Two ways on: "
            "(1) connect to the network and try again; (2) put the data into a folder "
            f"{folder}/ with train.jsonl.gz, validation.jsonl.gz and test.jsonl.gz, and name the "
            "folder above it in the environment variable PFTLAB_DATA or in data=."
        ) from error
    splits: dict[str, list[Row]] = {}
    names: list[str] = []
    for split, their_split in hub.splits.items():
        if their_split not in downloaded:
            continue
        table = downloaded[their_split]
        names = names or _label_names(table.features, hub)
        rows = [_rename(row, hub) for row in table]
        if not all(row.get("label") == -1 for row in rows):  # GLUE's hidden test labels
            splits[split] = rows
    return splits, names


def _load_dataset(path: str, **place: Any) -> Mapping[str, Any]:
    """Call `datasets.load_dataset`, from its cache alone when the hub is out of reach.

    By itself it tries five times over half a minute before it looks into its cache.
    """
    import datasets
    from huggingface_hub import HfApi

    configured = datasets.config.HF_HUB_OFFLINE
    try:
        HfApi().dataset_info(path, timeout=10)
    except Exception:  # any failure: the cache is all that is left
        datasets.config.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(path, **place)
    finally:
        datasets.config.HF_HUB_OFFLINE = configured


def _label_names(features: Mapping[str, Any], hub: Hub) -> list[str]:
    column = features.get(hub.columns.get("label") or hub.columns.get("tags", "label"))
    column = getattr(column, "feature", column)  # of a list
    return [hub.names.get(name, name) for name in getattr(column, "names", ())]


def _rename(row: Row, hub: Hub) -> Row:
    if hub.adapt is not None:
        row = hub.adapt(row)
    return {ours: row[theirs] for ours, theirs in hub.columns.items()}


def _without_contractions(row: Row) -> Row:
    """Drop the lines that write a contraction once more as a whole: they have no tag."""
    pairs = [(t, u) for t, u in zip(row["tokens"], row["upos"], strict=True) if u != UD_NO_TAG]
    return {"tokens": [t for t, _ in pairs], "upos": [u for _, u in pairs]}


def _join_triples(row: Row) -> Row:
    """Write a WebNLG entry as one line of triples and its good texts."""
    triples = row["modified_triple_sets"]["mtriple_set"][0]
    texts, judged = row["lex"]["text"], row["lex"]["comment"]
    good = [text for text, comment in zip(texts, judged, strict=True) if comment in ("", "good")]
    return {"source": " && ".join(triples), "references": good or texts}


def _name_the_word(row: Row) -> Row:
    """Put the word in question before both sentences; without it the question has no answer."""
    return {
        **row,
        "text_a": f"{row['word']}: {row['text_a']}",
        "text_b": f"{row['word']}: {row['text_b']}",
    }


def _ask(row: Row) -> Row:
    """Write what an instruction is about, if it is about something, behind it."""
    (asked,) = rename([row], {"source": ("instruction", "input"), "target": ("output",)})
    return asked


def _without_calculator(row: Row) -> Row:
    """Drop the calls of a calculator, such as <<16-3-4=9>>, from a solution."""
    return {**row, "target": re.sub(r"<<[^<>]*>>", "", row["target"])}


UD_NO_TAG = 13  # "_" among the hub's names of universal tags

GLUE = "nyu-mll/glue"
GLUE_PAPER = "Wang et al., 2019, GLUE (ICLR)"
TEXT = {"text": "text", "label": "label"}
NAMED_TEXT = {"text": "text", "label": "label_text"}
SENTENCE = {"text": "sentence", "label": "label"}
TWO_SENTENCES = {"text_a": "sentence1", "text_b": "sentence2", "label": "label"}

REAL: tuple[RealTask, ...] = (
    RealTask(
        name="sst2",
        summary="is a phrase of a film review positive?",
        kind="classification",
        metrics=("accuracy",),
        labels=SENTIMENT,
        licence="none stated; text from Rotten Tomatoes, distributed for research",
        citation=f"Socher et al., 2013 (EMNLP); {GLUE_PAPER}",
        hub=Hub(GLUE, "sst2", columns=SENTENCE),
        notes=(
            "The training phrases are parts of sentences and overlap, so a validation split taken "
            "from them is easier than the test split.",
        ),
    ),
    RealTask(
        name="mr",
        summary="is a sentence of a film review positive?",
        kind="classification",
        metrics=("accuracy",),
        labels=SENTIMENT,
        licence="text from Rotten Tomatoes; the NLTK data index states CC BY 4.0",
        citation="Pang and Lee, 2005 (ACL)",
        hub=Hub(
            "cornell-movie-review-data/rotten_tomatoes",
            columns=TEXT,
            names={"neg": "negative", "pos": "positive"},
        ),
        notes=("The sentences are those of sst2: never train on one and test on the other.",),
    ),
    RealTask(
        name="cr",
        summary="is a sentence of a product review positive?",
        kind="classification",
        metrics=("accuracy",),
        labels=SENTIMENT,
        licence="product reviews; the NLTK data index states CC BY 4.0",
        citation="Hu and Liu, 2004 (KDD)",
        hub=Hub("SetFit/CR", columns=NAMED_TEXT),
        notes=("There is no official split; sources differ.",),
    ),
    RealTask(
        name="subj",
        summary="is a sentence about a film an opinion or part of the plot?",
        kind="classification",
        metrics=("accuracy",),
        labels=("subjective", "objective"),
        licence="text from Rotten Tomatoes and IMDb; the NLTK data index states CC BY 4.0",
        citation="Pang and Lee, 2004 (ACL)",
        hub=Hub("SetFit/subj", columns=NAMED_TEXT),
        notes=("There is no official split; sources differ.",),
    ),
    RealTask(
        name="trec",
        summary="what does a question ask for?",
        kind="classification",
        metrics=("accuracy",),
        labels=("abbreviation", "description", "entity", "human", "location", "numeric"),
        licence="none stated; distributed for research",
        citation="Li and Roth, 2002 (COLING)",
        hub=Hub(
            "CogComp/trec",
            "default",
            converted=True,
            columns={"text": "text", "label": "coarse_label"},
            names={
                "ABBR": "abbreviation",
                "DESC": "description",
                "ENTY": "entity",
                "HUM": "human",
                "LOC": "location",
                "NUM": "numeric",
            },
        ),
    ),
    RealTask(
        name="cola",
        summary="is a sentence grammatical?",
        kind="classification",
        metrics=("matthews", "accuracy"),
        labels=("unacceptable", "acceptable"),
        licence="none; text from linguistics publications, used under fair use",
        citation=f"Warstadt, Singh and Bowman, 2019 (TACL); {GLUE_PAPER}",
        hub=Hub(GLUE, "cola", columns=SENTENCE),
    ),
    RealTask(
        name="banking77",
        summary="which of 77 things does a customer of a bank want?",
        kind="classification",
        metrics=("accuracy",),
        licence="CC BY 4.0",
        citation="Casanueva et al., 2020 (NLP4ConvAI)",
        hub=Hub(
            "mteb/banking77",
            revision="0fd18e25b25c072e09e0d92ab615fda904d66300",
            columns=NAMED_TEXT,
        ),
    ),
    RealTask(
        name="clinc150",
        summary="which of 150 things, or none of them, is an assistant asked to do?",
        kind="classification",
        metrics=("accuracy",),
        licence="CC BY 3.0",
        citation="Larson et al., 2019 (EMNLP)",
        hub=Hub("clinc/clinc_oos", "plus", columns={"text": "text", "label": "intent"}),
        notes=(
            "The hub's training split has 150 more out-of-scope questions than data_full.json.",
        ),
    ),
    RealTask(
        name="ag_news",
        summary="which section of a newspaper is an article from?",
        kind="classification",
        metrics=("accuracy",),
        labels=("World", "Sports", "Business", "Sci/Tech"),
        licence="free for non-commercial use and research; the text belongs to its publishers",
        citation="Zhang, Zhao and LeCun, 2015 (NeurIPS)",
        folder="agnews_testonly",
        hub=Hub("fancyzhx/ag_news", columns=TEXT),
        notes=(
            "A folder agnews_testonly holds only the 7,600 official test rows, split anew: numbers "
            "from it cannot be compared with published ones.",
        ),
    ),
    RealTask(
        name="imdb",
        summary="is a film review positive? (long texts)",
        kind="classification",
        metrics=("accuracy",),
        labels=SENTIMENT,
        licence="none stated; user-written reviews, distributed for research",
        citation="Maas et al., 2011 (ACL)",
        hub=Hub("stanfordnlp/imdb", columns=TEXT, names={"neg": "negative", "pos": "positive"}),
    ),
    RealTask(
        name="mrpc",
        summary="do two sentences of news say the same?",
        kind="pairs",
        metrics=("accuracy", "f1"),
        labels=("not_equivalent", "equivalent"),
        licence="Microsoft Research licence terms, for research",
        citation=f"Dolan and Brockett, 2005 (IWP); {GLUE_PAPER}",
        hub=Hub(GLUE, "mrpc", columns=TWO_SENTENCES),
    ),
    RealTask(
        name="rte",
        summary="does the second text follow from the first?",
        kind="pairs",
        metrics=("accuracy",),
        labels=("entailment", "not_entailment"),
        licence="none stated; news text, distributed for research",
        citation=f"Dagan et al., 2005; Bentivogli et al., 2009 (TAC); {GLUE_PAPER}",
        hub=Hub(GLUE, "rte", columns=TWO_SENTENCES),
    ),
    RealTask(
        name="sick",
        summary="does the second sentence follow from the first, contradict it, or neither?",
        kind="pairs",
        metrics=("accuracy",),
        labels=("entailment", "neutral", "contradiction"),
        licence="CC BY-NC-SA 3.0",
        citation="Marelli et al., 2014 (LREC)",
        hub=Hub(
            "RobZamp/sick",
            "default",
            converted=True,
            columns={"text_a": "sentence_A", "text_b": "sentence_B", "label": "label"},
        ),
    ),
    RealTask(
        name="wic",
        summary="does a word mean the same in two sentences?",
        kind="pairs",
        metrics=("accuracy",),
        labels=("different_sense", "same_sense"),
        licence="CC BY-NC 4.0",
        citation="Pilehvar and Camacho-Collados, 2019 (NAACL)",
        hub=Hub(
            "aps/super_glue",
            "wic",
            converted=True,
            columns={**TWO_SENTENCES, "word": "word"},
            names={"False": "different_sense", "True": "same_sense"},
        ),
        prepare=_name_the_word,
        notes=('Both texts begin with the word in question: "word: sentence".',),
    ),
    RealTask(
        name="stsb",
        summary="how alike in meaning are two sentences, from 0 to 5?",
        kind="regression",
        metrics=("pearson", "spearman"),
        licence="scores CC BY-SA 4.0; sentences under the terms of their sources",
        citation=f"Cer et al., 2017 (SemEval); {GLUE_PAPER}",
        hub=Hub(GLUE, "stsb", columns=TWO_SENTENCES),
    ),
    RealTask(
        name="conll2000",
        summary="where does each phrase of a sentence begin and end?",
        kind="tagging",
        metrics=("span_f1", "token_accuracy"),
        licence="none open; Wall Street Journal text, freely distributed by the shared task",
        citation="Tjong Kim Sang and Buchholz, 2000 (CoNLL)",
        folder="conll2000_chunking",
        hub=Hub(
            "eriktks/conll2000",
            "conll2000",
            converted=True,
            columns={"tokens": "tokens", "tags": "chunk_tags"},
            splits={"train": "train", "test": "test"},
        ),
    ),
    RealTask(
        name="ud_ewt_pos",
        summary="what part of speech is each word?",
        kind="tagging",
        metrics=("token_accuracy",),
        labels=tuple(
            "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
        ),
        licence="CC BY-SA 4.0",
        citation="Silveira et al., 2014 (LREC)",
        hub=Hub(
            "universal-dependencies/universal_dependencies",
            "en_ewt",
            converted=True,
            columns={"tokens": "tokens", "tags": "upos"},
            adapt=_without_contractions,
        ),
    ),
    RealTask(
        name="wnut17",
        summary="which words of a message name a person, a place, a product, …?",
        kind="tagging",
        metrics=("span_f1", "token_accuracy"),
        licence="CC BY 4.0",
        citation="Derczynski et al., 2017 (W-NUT)",
        folder="wnut17_ner",
        hub=Hub(
            "leondz/wnut_17",
            "wnut_17",
            converted=True,
            columns={"tokens": "tokens", "tags": "ner_tags"},
        ),
    ),
    RealTask(
        name="e2e_nlg",
        summary="say in a sentence what a table says of a restaurant",
        kind="generation",
        metrics=("bleu", "rouge_l"),
        licence="CC BY-SA 4.0",
        citation="Novikova, Dušek and Rieser, 2017 (SIGDIAL)",
        hub=Hub(
            "tuetschek/e2e_nlg",
            "default",
            converted=True,
            columns={"source": "meaning_representation", "target": "human_reference"},
        ),
    ),
    RealTask(
        name="webnlg",
        summary="say in a few sentences what some triples of a knowledge base say",
        kind="generation",
        metrics=("bleu", "rouge_l"),
        licence="CC BY-NC-SA 4.0",
        citation="Gardent et al., 2017 (ACL)",
        folder="webnlg2017",
        hub=Hub(
            "webnlg-challenge/web_nlg",
            "webnlg_challenge_2017",
            converted=True,
            columns={"source": "source", "references": "references"},
            splits={"train": "train", "validation": "dev", "test": "test"},
            adapt=_join_triples,
        ),
    ),
    RealTask(
        name="gsm8k",
        summary="solve a word problem of primary school, step by step",
        kind="generation",
        metrics=("last_number",),
        licence="MIT",
        citation="Cobbe et al., 2021",
        instruction="",
        hub=Hub("openai/gsm8k", "main", columns={"source": "question", "target": "answer"}),
        prepare=_without_calculator,
        notes=("Calls of a calculator (<<16-3-4=9>>) are left out of the solutions.",),
    ),
    RealTask(
        name="instruct_llmfs",
        summary="follow a short instruction: rewrite, correct, answer",
        kind="generation",
        metrics=("rouge_l",),
        licence="Apache-2.0",
        citation="Raschka, 2024, Build a Large Language Model (From Scratch), chapter 7",
        instruction="",
        origin="https://github.com/rasbt/LLMs-from-scratch (ch07, instruction-data.json)",
        prepare=_ask,
        notes=("Five inputs of the training split are in the validation or test split too.",),
    ),
    RealTask(
        name="self_instruct_seed",
        summary="follow an instruction of any kind, written by experts",
        kind="generation",
        metrics=("rouge_l",),
        licence="Apache-2.0",
        citation="Wang et al., 2023 (ACL)",
        instruction="",
        origin="https://github.com/yizhongw/self-instruct (seed_tasks, human_eval)",
        prepare=_ask,
        notes=("The training split has 175 tasks, too few to learn from, but for few examples.",),
    ),
)
