"""Text becomes batches: every token once, whole pieces, the same pieces in every vocabulary."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from pftlab import BadValue, Unavailable, load_task
from pftlab.pretraining.corpus import (
    SEPARATOR,
    Corpus,
    cut_pieces,
    ends_sentence,
    in_chunks,
    read_documents,
)
from pftlab.pretraining.preparation import prepare
from pftlab.pretraining.tokenizer import train_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [row["text"] for row in load_task("reviews", size="tiny").splits["train"]][:60]


@pytest.fixture(scope="module")
def tokenizer(texts: list[str]) -> Tokenizer:
    return train_tokenizer(texts, vocabulary=600)


def test_files_and_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    with lzma.open(tmp_path / "b.jsonl.xz", "wt") as file:
        file.write(json.dumps({"text": "three", "source": "s"}) + "\n")
    assert [d["text"] for d in read_documents(tmp_path)] == ["one", "two", "three"]
    held_out = [tmp_path / "b.jsonl.xz"]
    assert [d["text"] for d in read_documents(tmp_path, without=held_out)] == ["one", "two"]
    with pytest.raises(Unavailable, match="JSON Lines"):
        read_documents(tmp_path / "nowhere")


@pytest.mark.parametrize("line", ["{", '{"words": "x"}', '["text"]', '{"text": 3}'])
def test_a_line_that_is_no_document(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(BadValue, match=r"Line 2 of .*a\.jsonl"):
        read_documents(tmp_path)


def test_the_stream_spells_the_texts(texts: list[str], tokenizer: Tokenizer) -> None:
    corpus = prepare(texts, tokenizer, None)
    tokens = corpus.stream("plain", CPU).tokens.tolist()
    border = tokenizer.token_to_id("[SEP]")
    expected = [border]
    for text in texts:
        expected += [*tokenizer.encode(text, add_special_tokens=False).ids, border]
    assert tokens == expected


def test_processes_do_not_change_the_corpus(texts: list[str], tokenizer: Tokenizer) -> None:
    def as_texts(processes: int) -> list[str]:
        pieces = cut_pieces(texts, tokenizer, processes)
        return sorted("".join(pieces.table[i] for i in pieces.row).split(SEPARATOR))

    assert [t for t in as_texts(1) if t] == [t for t in as_texts(3) if t]


def test_a_window_holds_whole_pieces(texts: list[str], tokenizer: Tokenizer) -> None:
    stream = prepare(texts, tokenizer, None).stream("plain", CPU)
    first = torch.randint(0, len(stream.start) - 60, (200,), generator=torch.Generator())
    window = stream.window(first, 20)
    for row, begin in enumerate(first.tolist()):
        end = begin + int(window.limit[row])
        whole = stream.tokens[stream.start[begin] : stream.start[end]]
        inside = window.tokens[row][window.inside[row]]
        assert inside.tolist() == whole.tolist()[:20]
        following = int(stream.start[end + 1] - stream.start[begin])
        assert len(whole) <= 20 < following or end == begin + 1


def test_a_corpus_is_saved_and_a_damaged_one_refused(
    texts: list[str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    corpus = prepare(texts, tokenizer, None)
    corpus.save(tmp_path / "corpus.npz")
    again = Corpus.load(tmp_path / "corpus.npz")
    assert np.array_equal(again.row, corpus.row) and np.array_equal(again.closing, corpus.closing)
    assert torch.equal(again.stream("spaced", CPU).tokens, corpus.stream("spaced", CPU).tokens)
    data = (tmp_path / "corpus.npz").read_bytes()
    for damaged in (b"", b"hello", data[: len(data) // 2]):
        (tmp_path / "corpus.npz").write_bytes(damaged)
        with pytest.raises(BadValue, match="not a corpus that this recipe prepared"):
            Corpus.load(tmp_path / "corpus.npz")


@pytest.mark.parametrize("total", [0, 1, 2, 7, 8, 9, 15, 16, 40])
def test_windows_score_every_token_once(total: int) -> None:
    ids = list(range(total))
    scored: list[int] = []
    for window, new in in_chunks(ids, length=8, stride=4):
        assert len(window) <= 8 and 0 < new < len(window)
        scored += window[-new:]
        assert window == ids[window[0] : window[-1] + 1]
        assert new <= 4 or window[0] == 0  # what is predicted has at least half a window before it
    assert scored == ids[1:]


def test_ends_of_sentences() -> None:
    assert all(map(ends_sentence, (".", "▁!", '."', "?)", "\n", SEPARATOR)))
    assert not any(map(ends_sentence, ("▁", ",", "▁the", "⇧", "...a", "'")))
