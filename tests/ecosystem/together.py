"""Two processes of one host, over gloo: python together.py. Prints what came out as one JSON line."""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import batch, method, perturb, tiny

import pftlab as pft

METHODS = ("lora", "prompt_tuning", "layer_norm")


def adapted(name: str) -> Any:
    model = method(name).attach(tiny("llama"), seed=0)
    perturb(model)
    return model.eval()


def inputs(rank: int = 0, count: int = 1) -> dict[str, torch.Tensor]:
    both = batch("llama", 4)
    both["labels"] = both["input_ids"]
    return {name: tensor[rank::count] for name, tensor in both.items()}


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n.removeprefix("module."): p for n, p in model.named_parameters() if p.requires_grad}
    return {
        n: p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
        for n, p in found.items()
    }


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[n] - other[n]).abs().max()) for n in one)


def alone(name: str) -> dict[str, torch.Tensor]:
    model = adapted(name)
    model(**inputs(), use_cache=False).loss.backward()
    return gradients(model)


def with_accelerate(name: str, rank: int) -> float:
    """The gradients of `Accelerator.prepare`'s replicas, each with half of the batch."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    model = accelerator.prepare(adapted(name))
    accelerator.backward(model(**inputs(rank, 2), use_cache=False).loss)
    return farthest(gradients(model), alone(name))


def sharded(name: str) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model, mesh = adapted(name), init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def with_fsdp(name: str, rank: int) -> float:
    model = sharded(name)
    model(**inputs(rank, 2), use_cache=False).loss.backward()
    return farthest(gradients(model), alone(name))


def refused(rank: int) -> list[str]:
    """What is said of a model in parts."""
    model, said = sharded("lora"), []
    for action in (lambda: pft.save(model, tempfile.mkdtemp()), lambda: pft.merge(model)):
        try:
            action()
        except pft.Refused as error:
            said.append(str(error))
    return said


def gathered(rank: int) -> float:
    """A model in parts, put together in one that is not, and saved."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    model = sharded("lora")
    options = StateDictOptions(full_state_dict=True)
    state = get_model_state_dict(model, options=options)
    if rank > 0:
        return 0.0
    plain = method("lora").attach(tiny("llama"))
    plain.load_state_dict(state)
    folder = pft.save(plain, tempfile.mkdtemp())
    found = pft.load(tiny("llama"), folder).eval()
    with torch.no_grad():
        return float((found(**inputs()).logits - adapted("lora")(**inputs()).logits).abs().max())


def run(rank: int, store: str, answer: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    found = {
        "accelerate": {name: with_accelerate(name, rank) for name in METHODS},
        "fsdp": {name: with_fsdp(name, rank) for name in METHODS},
        "refused": refused(rank),
        "gathered": gathered(rank),
    }
    if rank == 0:
        Path(answer).write_text(json.dumps(found))
    torch.distributed.barrier()


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        children = []
        for rank in range(2):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    run(rank, f"{place}/store", f"{place}/answer")
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0, 0], codes
        print(Path(place, "answer").read_text())


if __name__ == "__main__":
    main()
