"""One base, several adapters: every answer is that of its own adapter alone, and errors are JSON."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from test_export import moved
from tiny import save_tiny_base

import pftlab as pft
from pftlab.deployment.batching import Batcher, Busy, Job

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from pftlab.deployment.backbone import Backbone, _Pen
from pftlab.deployment.server import make_app

TEXTS = ["a fine film", "dull, and long, and dull again", "nobody knows"]
READERS = {
    "lora": (pft.LoRA(rank=2), ("no", "yes")),
    "other": (pft.LoRA(rank=2, dropout=0.5), ("bad", "good")),
    "ia3": (pft.IA3(), ("no", "yes")),
    "bitfit": (pft.BitFit(), ("no", "yes")),
    "three": (pft.LoRA(rank=3), ("a", "b", "c")),
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Path]]:
    place = tmp_path_factory.mktemp("readers")
    base = save_tiny_base(place / "base")
    for number, (name, (attach, labels)) in enumerate(READERS.items()):
        model = attach.attach(pft.load_base(base, labels=labels), seed=number)
        pft.save(moved(model), place / name)
    return base, {name: place / name for name in READERS}


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("writers")
    for number, name in enumerate(("one", "two")):
        model = pft.LoRA(rank=2).attach(pft.load_base("tiny-decoder"), seed=number)
        pft.save(moved(model), place / name)
    return {name: place / name for name in ("one", "two")}


@pytest.fixture(scope="module")
def reading(readers: Any) -> Any:
    with TestClient(make_app(Backbone(*readers)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def writing(writers: Any) -> Any:
    with TestClient(make_app(Backbone("tiny-decoder", writers))) as client:
        yield client


def alone(base: str, folder: Path, labels: tuple[str, ...], texts: list[str]) -> list[dict]:
    model = pft.load(pft.load_base(base, labels=labels), folder).eval()
    inputs = pft.load_tokenizer(base)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        shares = model(**inputs).logits.softmax(-1)
    return [dict(zip(labels, row.tolist(), strict=True)) for row in shares]


def test_many_clients_of_many_adapters_get_their_own_answers(readers: Any, reading: Any) -> None:
    base, folders = readers
    wanted = {n: alone(base, folders[n], labels, TEXTS) for n, (_, labels) in READERS.items()}

    def ask(number: int) -> tuple[str, list[dict]]:
        name = list(READERS)[number % len(READERS)]
        answer = reading.post("/predict", json={"adapter": name, "texts": TEXTS})
        assert answer.status_code == 200, answer.text
        return name, answer.json()["answers"]

    with ThreadPoolExecutor(16) as pool:
        for name, answers in pool.map(ask, range(40)):
            for answer, scores in zip(answers, wanted[name], strict=True):
                assert answer["scores"] == pytest.approx(scores, abs=2e-5), name
                assert answer["label"] == max(scores, key=scores.__getitem__)


def test_rows_of_one_batch_have_different_adapters(readers: Any) -> None:
    base, folders = readers
    backbone = Backbone(base, folders)
    jobs = {n: backbone.reading(backbone[n], TEXTS[0]) for n in READERS}
    assert backbone.fits([jobs["lora"], jobs["other"]], jobs["ia3"])
    assert not backbone.fits([jobs["lora"]], jobs["bitfit"])  # it changes what rows share
    assert backbone.fits([jobs["bitfit"]], jobs["bitfit"])
    assert not backbone.fits([jobs["lora"]], jobs["three"])  # a head of another size
    backbone.run([jobs[n] for n in ("lora", "other", "ia3")])
    for name in ("lora", "other", "ia3"):
        [scores] = alone(base, folders[name], READERS[name][1], TEXTS[:1])
        assert jobs[name].answer.result()["scores"] == pytest.approx(scores, abs=2e-5)


def test_the_base_is_in_memory_once(readers: Any) -> None:
    backbone = Backbone(*readers)
    models = {adapter.model for adapter in backbone.adapters.values()}
    assert len(models) == 2  # heads of two sizes
    words = {model.get_input_embeddings().weight.data_ptr() for model in models}
    assert len(words) == 1


def test_pairs_and_numbers_and_tags(readers: Any, tmp_path: Path) -> None:
    base, _ = readers
    tags = ("O", "B-X", "I-X")
    model = pft.load_base(base, labels=tags, task="token_classification")
    pft.save(moved(pft.LoRA(rank=2).attach(model, seed=0)), tmp_path / "tags")
    pft.save(moved(pft.LoRA(rank=2).attach(pft.load_base(base, num_labels=1))), tmp_path / "number")
    folders = {"tags": tmp_path / "tags", "number": tmp_path / "number"}
    with TestClient(make_app(Backbone(base, folders))) as client:
        body = {"adapter": "tags", "texts": ["nobody knows it"]}
        [answer] = client.post("/predict", json=body).json()["answers"]
        assert [word for word, _ in answer["words"]] == ["nobody", "knows", "it"]
        assert {label for _, label in answer["words"]} <= set(tags)
        body = {"adapter": "number", "texts": [["a film", "a fine film"], "a film"]}
        both, one = client.post("/predict", json=body).json()["answers"]
        assert both["value"] != one["value"]
        body = {"adapter": "tags", "texts": [["a", "b"]]}
        assert "no pairs" in client.post("/predict", json=body).json()["error"]["message"]


def generated(folder: Path | None, prompt: str, most: int) -> str:
    model = pft.load_base("tiny-decoder")
    tokenizer = pft.load_tokenizer("tiny-decoder")
    if folder:
        pft.load(model, folder)
    inputs = tokenizer(prompt, return_tensors="pt")
    options = {"max_new_tokens": most, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    ids = model.generate(**inputs, **options)[0, inputs["input_ids"].shape[1] :]
    return tokenizer.decode(ids, skip_special_tokens=True)


def test_texts_are_written_and_streamed(writers: Any, writing: Any) -> None:
    folders = {**writers, "base": None}
    questions = [
        {"adapter": name, "prompt": prompt, "max_new_tokens": most, "stream": stream}
        for name in folders
        for prompt, most in (("The king of England", 12), ("It", 5))
        for stream in (False, True)
    ]

    def ask(question: dict[str, Any]) -> tuple[str, int]:
        answer = writing.post("/generate", json=question)
        assert answer.status_code == 200, answer.text
        if not question["stream"]:
            return answer.json()["text"], answer.json()["tokens"]
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
        assert events[-1]["done"] and len(events) > 3
        return "".join(event["text"] for event in events[:-1]), events[-1]["tokens"]

    with ThreadPoolExecutor(12) as pool:
        for question, (text, tokens) in zip(questions, pool.map(ask, questions), strict=True):
            most = question["max_new_tokens"]
            assert text == generated(folders[question["adapter"]], question["prompt"], most)
            assert 0 < tokens <= most


def test_a_client_that_leaves_ends_its_text(writers: Any) -> None:
    backbone = Backbone("tiny-decoder", writers)
    job = backbone.writing(backbone["one"], "The king", 100)
    job.emit = lambda text: setattr(job, "left", True)
    passes: list[int] = []
    job.adapter.model.register_forward_hook(lambda *_: passes.append(1))
    backbone.run([job])
    assert job.answer.result()["tokens"] < 5 and len(passes) < 5


def test_half_a_letter_is_not_sent(writers: Any) -> None:
    backbone = Backbone("tiny-decoder", writers)
    job = backbone.writing(backbone["one"], "The", 50)
    sent: list[str] = []
    job.emit = sent.append
    pen = _Pen([job], backbone.tokenizer, set())
    pen.put(torch.zeros(1, 1))  # the prompt
    for token in backbone.tokenizer("日本 и Ελ")["input_ids"]:
        pen.put(torch.tensor([token]))
    pen.finish(job)
    assert "".join(sent) == job.answer.result()["text"]
    assert "\ufffd" not in "".join(sent) and len(sent) > 3


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/predict", {"adapter": "lroa", "texts": TEXTS}, 404, "Did you mean 'lora'"),
        ("/predict", {"texts": TEXTS}, 400, 'Give "adapter", one of: lora'),
        ("/predict", {"adapter": "lora", "texts": []}, 400, "texts: List should have at least"),
        ("/predict", {"adapter": "lora", "texts": ["a", "  "]}, 400, "A text is empty"),
        ("/predict", {"adapter": "lora", "texts": ["a " * 100]}, 413, "and 64 are possible"),
        ("/predict", {"adapter": "lora", "texts": ["a"] * 300}, 400, "at most 256"),
        ("/predict", {"adapter": "lora", "texts": "a"}, 400, "texts: Input should be a valid list"),
        ("/predict", {"adapter": "lora", "text": ["a"]}, 400, "text"),
        ("/predict", b"{", 400, "The body is no JSON"),
        ("/predict", b"x" * 2_000_000, 413, "more than 1,048,576 bytes"),
        ("/generate", {"adapter": "lora", "prompt": "a"}, 400, "ask it at /predict"),
        ("/generate", {"adapter": "lora"}, 400, 'Give either "prompt" or "messages"'),
        ("/nothing", {}, 404, "Not Found"),
    ],
)
def test_errors_are_json(reading: Any, path: str, body: Any, status: int, message: str) -> None:
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = reading.post(path, headers={"content-type": "application/json"}, **given)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_errors_of_writing_are_json(writing: Any) -> None:
    for more, status, message in [
        ({"prompt": "The " * 300}, 413, "and 256 are possible"),
        ({"prompt": "The", "max_new_tokens": 1000}, 413, "and 1000 to write"),
        ({"prompt": " "}, 400, "prompt is empty"),
        ({"messages": [{"role": "user", "content": "a"}]}, 400, "has no chat template"),
        ({"prompt": "The", "temperature": -1}, 400, "temperature"),
        ({"prompt": "The", "max_new_tokens": 0}, 400, "max_new_tokens"),
    ]:
        answer = writing.post("/generate", json={"adapter": "one", **more})
        assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True)


def test_a_failure_is_json_and_hits_one_text_alone(readers: Any, monkeypatch: Any) -> None:
    backbone = Backbone(*readers)
    run = backbone.run

    def failing(batch: list[Any]) -> None:
        if any(23 in job.example["input_ids"] for job in batch):  # "s"
            raise ValueError("boom")
        run(batch)

    monkeypatch.setattr(backbone, "run", failing)
    app = make_app(backbone)
    with TestClient(app, raise_server_exceptions=False) as client, ThreadPoolExecutor(8) as pool:
        texts = ["a fine film", "sss"] * 8
        posted = list(
            pool.map(
                lambda t: client.post("/predict", json={"adapter": "lora", "texts": [t]}), texts
            )
        )
    for text, answer in zip(texts, posted, strict=True):
        assert answer.status_code == (500 if "s" in text else 200)
        assert "boom" not in answer.text and ("error" in answer.json()) == ("s" in text)


def test_a_full_queue_is_503(readers: Any) -> None:
    app = make_app(Backbone(*readers), room=2)
    with TestClient(app) as client:
        answer = client.post("/predict", json={"adapter": "lora", "texts": TEXTS})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert "room for 2" in answer.json()["error"]["message"]


def test_the_queue_answers_what_it_took_and_takes_no_more() -> None:
    go = threading.Event()
    sizes: list[int] = []

    def run(batch: list[Job]) -> None:
        go.wait(10)
        sizes.append(len(batch))
        for job in batch:
            job.answer.set_result(None)

    queue = Batcher(run, lambda batch, job: True, most=4, room=10)
    jobs = [Job() for _ in range(11)]
    queue.put(jobs[:1])
    while len(queue):
        time.sleep(0.001)
    queue.put(jobs[1:])
    jobs[3].answer.cancel()
    with pytest.raises(Busy, match="room for 10"):
        queue.put([Job()])
    go.set()
    last = Job()
    while len(queue):
        time.sleep(0.001)
    gone = Job()
    gone.answer.cancel()
    queue.put([gone])  # nobody waits for it, and the thread goes on
    while len(queue):
        time.sleep(0.001)
    time.sleep(0.01)
    queue.put([last])
    queue.close(10)
    assert (
        all(job.answer.done() for job in jobs) and sizes[:4] == [1, 4, 4, 1] and last.answer.done()
    )
    with pytest.raises(Busy, match="going down"):
        queue.put([Job()])


def test_what_cannot_be_served(readers: Any, tmp_path: Path) -> None:
    base, folders = readers
    with pytest.raises(pft.BadValue, match="nothing to serve"):
        Backbone(base, {})
    with pytest.raises(pft.BadValue, match="another one"):
        Backbone(base, {"base": folders["lora"]})
    with pytest.raises(pft.BadCheckpoint):
        Backbone(base, {"a": tmp_path})
    pft.save(pft.LoRA(rank=2).attach(pft.load_base(base, task="features")), tmp_path / "features")
    with pytest.raises(pft.Refused, match="labels or texts"):
        Backbone(base, {"a": tmp_path / "features"})
    with pytest.raises(pft.BadValue, match="takes 8 to 64"):
        Backbone(base, {"a": folders["lora"]}, longest=1000)


def test_the_command_serves_and_ends_in_good_order(writers: Any) -> None:
    """What was asked when the signal comes is answered."""
    words = [sys.executable, "-m", "pftlab.cli", "serve", "--base", "tiny-decoder", "--port", "0"]
    words += ["--adapter", f"one={writers['one']}"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout and server.stderr
        line = server.stdout.readline()
        address = line.partition(": ")[2].strip().removesuffix("/adapters")
        assert address.startswith("http://127.0.0.1:"), line + server.stderr.read()
        body = {"adapter": "one", "prompt": "The king", "max_new_tokens": 200, "stream": True}
        with httpx.stream("POST", f"{address}/generate", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.send_signal(signal.SIGINT)
            events = [json.loads(each[6:]) for each in lines if each]
        assert events[-1]["done"]
        assert server.wait(30) == 0 and server.stderr.read() == ""


def test_the_command_refuses(readers: Any, capsys: Any, monkeypatch: Any) -> None:
    from pftlab.cli import main

    base, folders = readers
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, message in [
            (("--adapter", "lora"), "NAME=FOLDER"),
            (("--adapter", "a=x", "--adapter", "a=y"), "given twice"),
            (("--queue", "0"), "at least 1"),
            (("--adapter", f"a={folders['lora']}", "--port", port), "cannot be listened on"),
        ]:
            assert main(["serve", "--base", base, *words]) == 2
            assert message in capsys.readouterr().err
        monkeypatch.setattr("pftlab.deployment.extras.find_spec", lambda name: None)
        assert main(["serve", "--base", base]) == 2
        assert 'pip install "pftlab[serve]"' in capsys.readouterr().err
