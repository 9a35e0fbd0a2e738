"""Whether `pftlab serve` keeps up with many clients, and how long they wait.

    python benchmarks/serve.py [--base tiny-encoder] [--clients 64] [--seconds 60] [--adapters 8]

A server of LoRA adapters is started in a process of its own. Each client asks one adapter after the
other, and compares the answer with that of the same question asked alone before: a lost or a wrong
one is counted. Decoders are asked for 16 tokens, every fourth time as a stream.

Found on a busy machine of two cores, of which the clients take their part, in 60 s with 64 clients:
tiny-encoder 7,910 questions, p50 314 ms, p95 1470 ms; tiny-decoder 6,504 questions, p50 546 ms, p95
829 ms, 32 texts a batch; none lost or wrong.
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

import pftlab as pft
from pftlab.testing.models import perturb

WORDS = "the king of a long and dull film was not bad at all but nobody knows why it had been made"
TOKENS = 16


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="tiny-encoder")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--adapters", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        names = save_adapters(given.base, given.adapters, Path(place))
        words = [f"--adapter={name}={place}/{name}" for name in names]
        command = [sys.executable, "-m", "pftlab.cli", "serve", "--base", given.base, "--port", "0"]
        with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().partition(": ")[2].strip()
            try:
                asyncio.run(measure(given, address.removesuffix("/adapters"), names))
            finally:
                server.send_signal(signal.SIGINT)


def save_adapters(base: str, number: int, place: Path) -> list[str]:
    """Adapters as if they had been trained."""
    encoder = "encoder" in base or base == "minilm"
    names = [f"adapter{i}" for i in range(number)]
    for i, name in enumerate(names):
        model = pft.load_base(base, labels=("no", "yes") if encoder else None)
        perturb(pft.LoRA(rank=8).attach(model, seed=i), seed=i)
        pft.save(model, place / name)
    return names


def questions(names: list[str], writes: bool) -> list[dict[str, Any]]:
    """Texts of 4 to 40 words, for each adapter in turn."""
    drawn = random.Random(0)
    made: list[dict[str, Any]] = []
    for i in range(40 * len(names)):
        text = " ".join(drawn.choices(WORDS.split(), k=drawn.randint(4, 40)))
        name = names[i % len(names)]
        if writes:
            made.append({"adapter": name, "prompt": text, "max_new_tokens": TOKENS})
            made[-1]["stream"] = i % 4 == 0
        else:
            made.append({"adapter": name, "texts": [text]})
    return made


async def ask(client: httpx.AsyncClient, question: dict[str, Any]) -> Any:
    path = "/predict" if "texts" in question else "/generate"
    answer = await client.post(path, json=question)
    answer.raise_for_status()
    if not question.get("stream"):
        data = answer.json()
        return data["text"] if "text" in data else data["answers"][0]["scores"]
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert events[-1].get("done"), events[-1]
    return "".join(event["text"] for event in events[:-1])


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return bool(one == other)
    return all(abs(one[label] - other[label]) < 1e-4 for label in one)


async def measure(given: argparse.Namespace, address: str, names: list[str]) -> None:
    limits = httpx.Limits(max_connections=given.clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        about = (await client.get("/adapters")).json()["adapters"][0]
        asked = questions(names, about["ask"] == "/generate")
        wanted = [await ask(client, question) for question in asked]
        waits: list[float] = []
        wrong: list[str] = []
        start = time.perf_counter()
        batches = (await client.get("/health")).json()["batches"]

        async def one(number: int) -> None:
            drawn = random.Random(number)
            while time.perf_counter() - start < given.seconds:
                i = drawn.randrange(len(asked))
                begun = time.perf_counter()
                try:
                    found = await ask(client, asked[i])
                    if not alike(found, wanted[i]):
                        wrong.append(f"{asked[i]}: {found} for {wanted[i]}")
                except (httpx.HTTPError, AssertionError) as error:
                    wrong.append(repr(error))
                waits.append(time.perf_counter() - begun)

        await asyncio.gather(*(one(number) for number in range(given.clients)))
        seconds = time.perf_counter() - start
        batches = (await client.get("/health")).json()["batches"] - batches
    print(
        f"{given.base}, {len(names)} adapters, {given.clients} clients, {seconds:.0f} s, "
        f"{torch.get_num_threads()} threads"
    )
    cuts = statistics.quantiles(waits, n=100)
    print(
        f"{len(waits):,} questions, {len(waits) / seconds:.1f} a second, {len(wrong)} lost or wrong"
    )
    print(f"waited: p50 {1000 * cuts[49]:.0f} ms, p95 {1000 * cuts[94]:.0f} ms, "
          f"most {1000 * max(waits):.0f} ms; {len(waits) / batches:.1f} texts a batch")  # fmt: skip
    if wrong:
        print(*wrong[:3], sep="\n")


if __name__ == "__main__":
    main()
