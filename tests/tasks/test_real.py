"""Real tasks from made-up files in the layout of the real ones, from a made-up hub, and, where
PFTLAB_DATA names a folder, from the real files."""

import gzip
import hashlib
import json
import os
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from pftlab.core.errors import BadValue, Unavailable
from pftlab.tasks import TASKS, load_task
from pftlab.tasks.columns import COLUMNS
from pftlab.tasks.metrics import METRICS
from pftlab.tasks.real import CONVERTED, REAL
from pftlab.tasks.rows import SPLITS


@pytest.fixture(autouse=True)
def no_real_data(monkeypatch):
    monkeypatch.delenv("PFTLAB_DATA", raising=False)


def lay_out(folder, splits, label_names=None):
    folder.mkdir(parents=True)
    info = {"splits": {}} if label_names is None else {"label_names": label_names, "splits": {}}
    for split, rows in splits.items():
        raw = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
        (folder / f"{split}.jsonl.gz").write_bytes(raw)
        info["splits"][split] = {"sha256": hashlib.sha256(raw).hexdigest()}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def film(n, start=0):
    return [{"text": f"film {i}", "label": i % 2, "extra": "x"} for i in range(start, start + n)]


class TestFolder:
    def test_from_the_environment_and_from_data(self, tmp_path, monkeypatch):
        splits = {"train": film(8), "validation": film(2, 20), "test": film(4, 40)}
        lay_out(tmp_path / "sst2", splits, ["negative", "positive"])
        task = load_task("sst2", data=tmp_path)
        assert task.kind == "classification" and task.labels == ("negative", "positive")
        assert task.splits["test"].to_list()[1] == {"text": "film 41", "label": 1}
        assert task.source == "folder sst2" and "Socher" in task.citation
        assert load_task("sst2", data=tmp_path / "sst2").fingerprint == task.fingerprint
        monkeypatch.setenv("PFTLAB_DATA", str(tmp_path))
        assert load_task("sst2").fingerprint == task.fingerprint

    def test_labels_are_numbered_by_the_table(self, tmp_path):
        lay_out(tmp_path / "mr", {"train": film(20), "test": film(2)}, ["positive", "negative"])
        task = load_task("mr", data=tmp_path)
        assert task.labels == ("negative", "positive")
        assert task.splits["test"]["label"][:] == [1, 0]
        assert any("validation: 2 rows" in note for note in task.notes)

    def test_the_numbers_of_a_table_file_are_numbered_alike(self, tmp_path):
        """A CSV file has its numbers as text; they still mean the names of its own folder."""
        lay_out(tmp_path / "mr", {"test": film(2)}, ["positive", "negative"])
        rows = "".join(f"film {i},{i % 2}\n" for i in range(40))
        (tmp_path / "mr" / "train.csv").write_text(f"text,label\n{rows}")
        task = load_task("mr", data=tmp_path)
        every = [row for rows in task.splits.values() for row in rows]
        assert all(row["label"] == 1 - int(row["text"].split()[1]) % 2 for row in every)

    def test_names_in_place_of_numbers(self, tmp_path):
        rows = [{"text": f"t{i}", "label": "cab"[i % 3]} for i in range(30)]
        lay_out(tmp_path / "banking77", {"train": rows, "test": rows[:3]})
        task = load_task("banking77", data=tmp_path)
        assert task.labels == ("a", "b", "c")
        assert task.splits["test"]["label"][:] == [2, 0, 1]

    def test_many_labels_are_sorted(self, tmp_path):
        rows = [{"text": f"t{i}", "label": i % 3} for i in range(30)]
        lay_out(tmp_path / "banking77", {"train": rows, "test": rows[:3]}, ["c", "a", "b"])
        task = load_task("banking77", data=tmp_path)
        assert task.labels == ("a", "b", "c")
        assert task.splits["test"]["label"][:] == [2, 0, 1]

    def test_hidden_test_labels(self, tmp_path):
        rows = [{"text_a": f"a{i}", "text_b": "b", "label": i % 2} for i in range(40)]
        splits = {"train": rows[:30], "validation": rows[30:]}
        lay_out(tmp_path / "rte", splits, ["entailment", "not_entailment"])
        task = load_task("rte", data=tmp_path)
        assert sorted(task.splits["test"]["text_a"]) == sorted(row["text_a"] for row in rows[30:])
        assert {name: len(rows) for name, rows in task.splits.items()} == {
            "train": 27,
            "validation": 3,
            "test": 10,
        }

    def test_generation_gathers_references(self, tmp_path):
        pairs = [{"source": f"name[{i // 3}]", "target": f"text {i}"} for i in range(12)]
        lay_out(tmp_path / "e2e_nlg", dict.fromkeys(SPLITS, pairs))
        task = load_task("e2e_nlg", data=tmp_path)
        assert len(task.splits["train"]) == 12 and len(task.splits["test"]) == 4
        assert task.references("test")[1] == ["text 3", "text 4", "text 5"]
        listed = [{"source": "a | b | c", "references": ["one", "two"]}]
        lay_out(tmp_path / "webnlg2017", {"train": pairs, "validation": listed, "test": listed})
        task = load_task("webnlg", data=tmp_path)
        assert task.splits["test"].to_list() == [
            {"source": "a | b | c", "target": "one", "references": ["one", "two"]}
        ]

    def test_instructions_and_problems(self, tmp_path):
        row = {"instruction": "Correct this.", "input": "a dogs", "output": "a dog"}
        rows = [row, {**row, "input": ""}]
        lay_out(tmp_path / "instruct_llmfs", dict.fromkeys(SPLITS, rows))
        task = load_task("instruct_llmfs", data=tmp_path)
        assert task.splits["test"]["source"][:] == ["Correct this.\na dogs", "Correct this."]
        assert task.splits["test"]["target"][:] == ["a dog", "a dog"]
        assert task.instruction == "" and task.licence == "Apache-2.0"
        solved = {"source": "2 and 3?", "target": "2+3=<<2+3=5>>5 in all\n#### 5"}
        rows = [{**solved, "source": f"{i} and 3?"} for i in range(20)]
        lay_out(tmp_path / "gsm8k", {"train": rows, "test": rows[:2]})
        task = load_task("gsm8k", data=tmp_path)
        assert task.references("test") == [["2+3=5 in all\n#### 5"]] * 2
        assert task.score(["it is 6, no, 5.", "5 or 6"], task.references("test")) == {
            "last_number": 0.5
        }

    def test_data_that_the_hub_does_not_have(self):
        for name in ("instruct_llmfs", "self_instruct_seed"):
            with pytest.raises(Unavailable, match=r"hub has no such.*github\.com.*PFTLAB_DATA"):
                load_task(name)

    def test_the_word_in_question_is_named(self, tmp_path):
        row = {"text_a": "The bank .", "text_b": "A bank .", "label": 1, "word": "bank"}
        names = ["different_sense", "same_sense"]
        lay_out(tmp_path / "wic", {split: [row] for split in SPLITS}, names)
        assert load_task("wic", data=tmp_path).splits["test"].to_list() == [
            {"text_a": "bank: The bank .", "text_b": "bank: A bank .", "label": 1}
        ]

    def test_tags(self, tmp_path):
        rows = [{"tokens": ["EU", "rejects"], "tags": [1, 0], "pos": [5, 6]}]
        names = ["O", "B-group", "I-group"]
        lay_out(tmp_path / "wnut17_ner", dict.fromkeys(SPLITS, rows), names)
        task = load_task("wnut17", data=tmp_path)
        assert task.labels == ("B-group", "I-group", "O")
        assert task.splits["train"].to_list() == [{"tokens": ["EU", "rejects"], "tags": [0, 2]}]

    def test_what_can_be_wrong(self, tmp_path):
        with pytest.raises(Unavailable, match=r"no sst2/train\.jsonl\.gz"):
            load_task("sst2", data=tmp_path)
        lay_out(
            tmp_path / "sst2",
            {"train": film(4), "test": [{"text": "x", "label": 2}]},
            ["negative", "positive"],
        )
        with pytest.raises(BadValue, match=r"'test' of 'sst2'.*out of range"):
            load_task("sst2", data=tmp_path)
        with pytest.raises(BadValue, match=r"subset\(n\)"):
            load_task("sst2", data=tmp_path, size="tiny")
        file = tmp_path / "sst2" / "train.jsonl.gz"
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(BadValue, match="corrupted"):
            load_task("sst2", data=tmp_path)


class TestHub:
    @pytest.fixture
    def serve(self, monkeypatch):
        """Stand in for the hub; returns the arguments that `load_dataset` was called with."""

        def serve(answer, reachable=True):
            calls = []

            def dataset_info(api, path, timeout):
                if not reachable:
                    raise OSError("no network")

            def load_dataset(path, **place):
                calls.append({"path": path, "offline": datasets.config.HF_HUB_OFFLINE, **place})
                if isinstance(answer, Exception):
                    raise answer
                return answer

            monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
            monkeypatch.setattr(datasets, "load_dataset", load_dataset)
            return calls

        return serve

    def test_glue_hides_its_test_labels(self, serve):
        names = ["unacceptable", "acceptable"]
        features = Features({"sentence": Value("string"), "label": ClassLabel(names=names)})

        def table(prefix, labels):
            texts = [f"{prefix} {i}" for i in range(len(labels))]
            return Dataset.from_dict({"sentence": texts, "label": labels}, features=features)

        calls = serve(
            DatasetDict(
                train=table("train", [0, 1] * 20),
                validation=table("dev", [1, 0, 1]),
                test=table("hidden", [-1, -1]),
            )
        )
        task = load_task("cola")
        assert calls[0]["path"] == "nyu-mll/glue" and calls[0]["name"] == "cola"
        assert task.splits["test"]["text"][:] == ["dev 0", "dev 1", "dev 2"]
        assert len(task.splits["validation"]) == 4
        assert task.metric == "matthews" and task.source == "hub nyu-mll/glue cola"

    def test_labels_are_matched_by_name(self, serve):
        rows = {
            "text": ["a", "b"] * 9,
            "label": [0, 1] * 9,
            "label_text": ["objective", "subjective"] * 9,
        }
        serve(DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict(rows)))
        task = load_task("subj")
        assert task.splits["test"]["label"][:2] == [1, 0]

        names = ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]
        features = Features({"text": Value("string"), "coarse_label": ClassLabel(names=names)})
        rows = {"text": [f"q{i}" for i in range(12)], "coarse_label": [*range(6)] * 2}
        table = Dataset.from_dict(rows, features=features)
        calls = serve(DatasetDict(train=table, test=table))
        task = load_task("trec")
        assert task.splits["test"]["label"][:6] == [0, 2, 1, 3, 4, 5]
        assert calls[0]["revision"] == CONVERTED
        assert calls[0]["data_files"]["train"] == "default/train/*.parquet"

    def test_tags_are_matched_by_name(self, serve):
        features = Features(
            {
                "tokens": List(Value("string")),
                "chunk_tags": List(ClassLabel(names=["O", "B-NP", "I-NP"])),
            }
        )
        rows = {"tokens": [["He", "ran"], ["Go"]] * 9, "chunk_tags": [[1, 0], [0]] * 9}
        table = Dataset.from_dict(rows, features=features)
        calls = serve(DatasetDict(train=table, test=table))
        task = load_task("conll2000")
        assert task.labels == ("B-NP", "I-NP", "O")
        assert task.splits["test"]["tags"][0] == [0, 2]
        assert set(calls[0]["data_files"]) == {"train", "test"}

    def test_contractions_are_not_tagged_twice(self, serve):
        names = "NOUN PUNCT ADP NUM SYM SCONJ ADJ PART DET CCONJ PROPN PRON X _ ADV INTJ VERB AUX".split()
        features = Features(
            {"tokens": List(Value("string")), "upos": List(ClassLabel(names=names))}
        )
        rows = {"tokens": [["I", "don't", "do", "n't"]] * 9, "upos": [[11, 13, 17, 7]] * 9}
        table = Dataset.from_dict(rows, features=features)
        serve(DatasetDict(train=table, validation=table, test=table))
        task = load_task("ud_ewt_pos")
        assert task.splits["test"]["tokens"][0] == ["I", "do", "n't"]
        assert [task.labels[tag] for tag in task.splits["test"]["tags"][0]] == [
            "PRON",
            "AUX",
            "PART",
        ]

    def test_triples(self, serve):
        row = {
            "modified_triple_sets": {"mtriple_set": [["A | b | C", "A | d | E"]]},
            "lex": {"text": ["fine", "odd"], "comment": ["good", "toFix"]},
        }
        table = Dataset.from_list([row])
        serve(DatasetDict(train=table, dev=table, test=table))
        assert load_task("webnlg").splits["validation"].to_list() == [
            {"source": "A | b | C && A | d | E", "target": "fine", "references": ["fine"]}
        ]

    def test_no_network(self, serve):
        calls = serve(ConnectionError("Couldn't reach the hub"), reachable=False)
        with pytest.raises(Unavailable, match=r"conll2000_chunking/.*PFTLAB_DATA") as caught:
            load_task("conll2000")
        assert len(str(caught.value).splitlines()) == 1
        assert calls[0]["offline"] is True  # only the cache is tried, not half a minute of retries

    def test_the_cache_serves_without_network(self, serve):
        rows = Dataset.from_dict({"text": ["a", "b"] * 9, "label": [0, 1] * 9})
        serve(DatasetDict(train=rows, validation=rows, test=rows), reachable=False)
        assert len(load_task("mr").splits["test"]) == 18


def test_the_table_is_sound():
    assert len({card.name for card in REAL}) == len(REAL) == 23
    for card in REAL:
        assert TASKS[card.name] is card
        assert set(card.metrics) <= set(METRICS) and card.licence and card.citation and card.summary
        if card.hub is None:
            assert card.origin
            continue
        columns = set(card.hub.columns) | (
            {"target"} if "references" in card.hub.columns else set()
        )
        assert columns >= set(COLUMNS[card.kind]), card.name
        assert {"train", "test"} <= set(card.hub.splits)


REAL_DATA = os.environ.get("PFTLAB_DATA", "")


@pytest.mark.skipif(
    not REAL_DATA, reason="PFTLAB_DATA does not name a folder with the real data sets"
)
@pytest.mark.parametrize("name", [card.name for card in REAL if card.name != "imdb"])
def test_the_real_files(name):
    card = TASKS[name]
    if not (Path(REAL_DATA) / card.folder_name).is_dir():
        pytest.skip(f"PFTLAB_DATA holds no folder {card.folder_name}")
    task = load_task(name, data=REAL_DATA)
    assert set(task.splits) == {"train", "validation", "test"}
    if card.hub is not None:
        assert all(len(rows) >= 200 for rows in task.splits.values())
    references = task.references("test", limit=50)
    if task.kind == "generation":
        assert task.score([texts[0] for texts in references], references)[task.metric] == 1
    else:
        assert task.score(references, references)[task.metric] == pytest.approx(1)
    if task.kind in ("classification", "pairs"):
        counts = [task.references("train").count(k) for k in range(len(task.labels))]
        assert min(counts) > 0
