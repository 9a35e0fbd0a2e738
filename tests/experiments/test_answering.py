"""`pftlab.experiments.answering`: where the loss falls, and what is stored of its runs."""

import json

import pftlab as pft
from pftlab.experiments import STORED, answering


def test_the_loss_falls_where_it_is_said_to() -> None:
    tokenizer = answering.chat_tokenizer()
    data = pft.load_task(answering.questions(4, seed=0))
    examples = data.encode(tokenizer, "train")
    end = tokenizer.eos_token_id
    for example, everything, no_end in zip(
        examples,
        answering.labelled(examples, "everything", end),
        answering.labelled(examples, "no end", end),
        strict=True,
    ):
        assert everything["labels"] == example["input_ids"]
        assert example["labels"][-1] == end and no_end["labels"][-1] == -100
        assert no_end["labels"][:-1] == example["labels"][:-1]


def test_no_word_of_a_new_question_is_in_a_training_question() -> None:
    seen = {word for seen, _ in answering.WORDS.values() for word in seen.split()}
    new = " ".join(row["source"] for row in answering.questions(200, seed=2, new=True))
    assert not seen & set(new.replace(".", "").replace("?", "").split())


def test_a_run_says_what_came_out() -> None:
    data = answering.task()
    found = answering.run("answer", 1e-3, 0, "validation", data, steps=1, batch_size=2)
    assert 0 <= found["right"] <= 1
    assert found["forgetting"]["after"] != found["forgetting"]["before"]
    assert 0 <= found["ended"] <= 1 and len(found["written"]) == 8


def test_the_stored_runs_are_paired_and_their_rates_were_searched() -> None:
    stored = json.loads((STORED / "answering.json").read_text(encoding="utf-8"))
    seeds = {loss: [r["seed"] for r in stored["runs"] if r["loss"] == loss]
             for loss in answering.LOSSES}  # fmt: skip
    assert len(set(map(tuple, seeds.values()))) == 1 and len(seeds["answer"]) >= 5
    assert answering.SEARCHED not in seeds["answer"]
    assert stored["task"]["fingerprint"] == answering.task().fingerprint
    for loss in answering.LOSSES[:2]:
        tried = {r["lr"]: r["right"] for r in stored["searches"] if r["loss"] == loss}
        best = max(tried, key=lambda lr: tried[lr])
        assert {r["lr"] for r in stored["runs"] if r["loss"] == loss} == {best}
        assert min(tried) < best < max(tried)
