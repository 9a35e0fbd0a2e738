"""Trains in processes of their own, which may be killed: python separate.py BASE

Reads jobs from its standard input, one JSON object a line, and answers each with one line. It
imports everything once and forks a child for each run, so that a run costs no new imports.

A job is a list of runs at the same time, each with
    folder     where to train, or null
    kill       when the child kills itself (SIGKILL): "<event> <number>", see `arm`; or null
    result     file for the trained tensors
    task, arguments, environment
The answer is the list of exit codes; −9 means killed.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from training_setup import few, without_dropout

import pftlab as pft
from pftlab.core import files
from pftlab.core.trained import trainable_state
from pftlab.training import evaluation, loop, state

TASKS = {"reviews": few("reviews"), "tagging": few("tagging", 32)}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str) -> None:
    """Make this process kill itself at a moment: the n-th time that something happens."""
    event, _, number = moment.partition(" ")
    left = [float(number)]

    def count(action: Any, before: bool = True) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if before and left[0] <= 0:
                die()
            result = action(*args, **kwargs)
            if left[0] <= 0:
                die()
            return result

        return counted

    def torn(tensors: Any, path: Path, metadata: Any) -> None:
        save_file(tensors, path, metadata=metadata)
        left[0] -= 1
        if left[0] <= 0:
            os.truncate(path, path.stat().st_size // 2)
            die()

    if event == "seconds":
        threading.Thread(target=lambda: (time.sleep(left[0]), die()), daemon=True).start()
    elif event == "step":  # the optimiser has moved the parameters, nothing knows of it yet
        torch.optim.AdamW.step = count(torch.optim.AdamW.step, before=False)  # type: ignore
    elif event == "evaluation":
        evaluation.Evaluator._read = count(evaluation.Evaluator._read)  # type: ignore
    elif event == "write":  # half of the state is on the disk
        state.save_file = torn  # type: ignore
    elif event == "rename":  # the new state is written and has not taken its place
        files.os.replace = count(os.replace)  # type: ignore
    elif event == "renamed":
        files.os.replace = count(os.replace, before=False)  # type: ignore
    else:
        raise ValueError(moment)


def run(base: str, job: dict[str, Any]) -> None:
    os.environ.update(job.get("environment", {}))
    if job.get("kill"):
        arm(job["kill"])
    loop.SAVE_SECONDS = -1.0  # save after every step
    task = TASKS[job.get("task", "reviews")]
    torch.manual_seed(int(os.environ.get("RANK", 0)))
    model = pft.load_base(base, num_labels=task.num_labels, task=task.model_task)
    pft.LoRA(rank=2, dropout=job.get("dropout", 0.0)).attach(model)
    if not job.get("dropout"):
        without_dropout(model)
    done = pft.train(model, task, folder=job.get("folder"), progress=False, **job["arguments"])
    losses = torch.tensor([loss for _, loss in done.losses], dtype=torch.float64)
    trained = {name: tensor.contiguous() for name, tensor in trainable_state(model).items()}
    save_file({**trained, "losses": losses}, job["result"])


def main() -> None:
    torch.set_num_threads(1)
    base, answers = sys.argv[1], os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        children = []
        for job in json.loads(line):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    run(base, job)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), file=answers)


if __name__ == "__main__":
    main()
