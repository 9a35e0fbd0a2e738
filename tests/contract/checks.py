"""What every method must keep on every architecture, as functions of a method and a tiny model.

`test_contract.py` runs them over the registry; `test_mutations.py` proves that they can fail.
"""

import copy
import pickle
import re
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import DECODERS, batch, perturb, ragged, tiny
from torch import Tensor, nn

import pftlab as pft
from pftlab.core import checkpoint, trainable_state
from pftlab.core.ports.steps import announced
from pftlab.core.ports.weight import WeightDelta
from pftlab.exchange import peft
from pftlab.training import Lifecycle

GENERATORS = (*DECODERS, "t5")
#: A key's bias adds the same to all scores of a query, and the softmax takes it away again. Where
#: positions rotate keys, it does count.
NO_GRADIENT = re.compile(r"\.(key|k_lin|k_proj)\.bias$")
ROTATED = ("llama", "qwen2", "gpt_neox")
#: the rows of a fused projection that are not adapted are zeros in a file for PEFT
FUSED = ("gpt2", "gpt_neox")


def output(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Logits, or the last hidden states of a model without a head."""
    result = model(**inputs)
    return result.logits if "logits" in result else result.last_hidden_state


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Without gradients on every side: with them PyTorch may choose another attention kernel."""
    with torch.no_grad():
        return output(model, inputs)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    """Equal up to `tolerance`, relative to the largest entry, and of one shape."""
    if a.shape != b.shape or not b.numel():
        return a.shape == b.shape
    return bool((a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item()))


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that attaching could change, to be compared with `==`."""
    seen: dict[str, Any] = {
        "values": {k: _bits(v) for k, v in model.state_dict().items()},
        "flags": {n: p.requires_grad for n, p in model.named_parameters()},
    }
    for path, module in model.named_modules():
        seen[path] = {
            "attributes": None if "pft_" in path else sorted(vars(module)),
            "children": [n for n, _ in module.named_children()],
            "hooks": len(module._forward_hooks) + len(module._forward_pre_hooks),
            "training": module.training,
            "attention": getattr(getattr(module, "config", None), "_attn_implementation", None),
        }
    return seen


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def train(model: Any, inputs: dict[str, Tensor], steps: int = 2) -> None:
    """A few steps of AdamW with everything that a method does in the loop of training."""

    def batches() -> Iterator[dict[str, Tensor]]:
        yield inputs | {"labels": output(model, inputs).detach().argmax(-1)}

    with Lifecycle(model, steps) as methods:
        if "logits" in model(**inputs):  # without a head there is no loss to look at
            methods.before_training(batches)
        optimiser = torch.optim.AdamW(methods.parameter_groups(1e-2))
        model.train()
        for step in range(1, steps + 1):
            methods.before_step(step)
            methods.with_extra_loss(output(model, inputs).pow(2).mean()).backward()
            methods.after_backward(step)
            optimiser.step()
            optimiser.zero_grad()
            methods.after_step(step)
    model.eval()


def check_life(how: Any, architecture: str, folder: Path) -> None:
    """From attaching to detaching: the base stays, and what is trained is kept."""
    model, inputs = tiny(architecture), batch(architecture)
    next(model.parameters()).requires_grad_(False)  # flags come back as they were, not as True
    before, plain, keys = logits(model, inputs), snapshot(model), list(model.state_dict())
    how.attach(model)

    # the base's keys and values are untouched, and the start is what the method declares
    assert [k for k in model.state_dict() if ".pft_" not in f".{k}"] == keys
    assert all(_bits(v) == plain["values"][k] for k, v in model.state_dict().items() if k in keys)
    start = logits(model, inputs)
    assert start.shape == before.shape and start.dtype == before.dtype
    if how.identity_at_start:
        assert close(start, before, 1e-6), "is not the identity at the start"
    else:
        assert not torch.equal(start, before), "is the identity at the start"

    # every trainable parameter gets a gradient, and no frozen one does
    perturb(model)
    output(model, batch(architecture, size=8)).pow(2).sum().backward()
    check_gradients(model, architecture)
    counted = pft.count(model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == counted.trainable + counted.head

    # training changes the model, and what is frozen does not move
    frozen = {n: _bits(p) for n, p in model.named_parameters() if not p.requires_grad}
    train(model, inputs)
    perturb(model, seed=2)
    trained = logits(model, inputs)
    assert not close(trained, before, 1e-6), "training changes nothing"
    now = dict(model.named_parameters())
    assert all(_bits(now[n]) == b for n, b in frozen.items() if n in now), "moves what is frozen"

    # disabled is the base bit for bit, head included, also when the block raises
    with pft.disabled(model):
        assert torch.equal(logits(model, inputs), before), "disabled is not the base"
    with pytest.raises(Exception), pft.disabled(model):
        model(**inputs, no_such_argument=1, input_ids=None)
    assert torch.equal(logits(model, inputs), trained), "an error inside disabled is felt after it"

    # copies and pickles run their own deltas, and let go of them
    for duplicate in (copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        other = duplicate(model)
        assert torch.equal(logits(other, inputs), trained), "a copy computes something else"
        perturb_planted(other)
        assert not torch.equal(logits(other, inputs), trained), "a copy runs the original's deltas"
        assert torch.equal(logits(model, inputs), trained), "a copy changes the original"
        assert torch.equal(logits(pft.detach(other), inputs), before), "a copy cannot detach"
        assert torch.equal(logits(model, inputs), trained), "detaching a copy is felt"

    check_files(how, model, architecture, folder)
    check_merge(how, model, inputs, keys)

    # detaching brings the base back, in every respect
    pft.detach(model)
    assert torch.equal(logits(model, inputs), before), "detached is not the base"
    assert snapshot(model) == plain, "detaching leaves something behind"


def check_gradients(model: nn.Module, architecture: str) -> None:
    """Every trainable parameter has a gradient that is not zero, and no frozen one has any.

    A change of weights may concern words that the batch does not have, so its may be zero.
    """
    of_weights = {
        id(p) for m in model.modules() if isinstance(m, WeightDelta) for p in m.parameters()
    }
    for n, p in model.named_parameters():
        if not p.requires_grad:
            assert p.grad is None, f"{n} is frozen and has a gradient"
            continue
        assert p.grad is not None, f"{n} is trainable and has no gradient"
        if NO_GRADIENT.search(n) and architecture.split("-")[0] not in ROTATED:
            assert p.grad.abs().max() < 1e-4, n
        elif p.numel() and id(p) not in of_weights:
            assert p.grad.abs().max() > 0, f"{n} is dead: its gradient is zero"


def perturb_planted(model: nn.Module) -> None:
    """Move what is planted; where nothing is, everything trainable."""
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    planted = [p for n, p in trainable.items() if ".pft_" in f".{n}"]
    with torch.no_grad():
        for parameter in planted or trainable.values():
            parameter.add_(0.05 * torch.randn_like(parameter))


def check_files(how: Any, model: Any, architecture: str, folder: Path) -> None:
    """What is saved is loaded bit for bit, and nothing else is in the file."""
    inputs = batch(architecture)
    pft.save(model, folder)
    methods = ChainMap({how.name: type(how)}, pft.METHODS)  # type: ignore[arg-type]
    loaded = checkpoint.load(tiny(architecture), folder, methods, (peft,))
    assert torch.equal(logits(loaded, inputs), logits(model, inputs)), "loaded computes otherwise"
    assert pft.attached(loaded) == pft.attached(model)
    ours, theirs = trainable_state(loaded), trainable_state(model)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    stored = load_file(folder / "adapter_model.safetensors")
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    held = sum(t.nbytes for t in stored.values())
    if how.stores_less:
        assert held < trained, "the file holds what was pruned away"
    elif how.stores_more or architecture.split("-")[0] in FUSED:
        assert trained <= held <= 4 * trained, "the file holds more than what was trained"
    else:
        assert held == trained, "the file does not hold what was trained, and that alone"
    size = (folder / "adapter_model.safetensors").stat().st_size
    assert size <= held + 300 * (len(stored) + 3), "the file's header is large"


def check_merge(how: Any, model: Any, inputs: dict[str, Tensor], keys: list[str]) -> None:
    """Merged computes the same with the base's keys, or is refused with a reason."""
    other, unmerged = copy.deepcopy(model), logits(model, inputs)
    if how.mergeable:
        pft.merge(other)
        assert list(other.state_dict()) == keys
        assert close(logits(other, inputs), unmerged, 3e-5), "merged computes something else"
        assert not pft.attached(other)
    else:
        before = snapshot(other)
        with pytest.raises(pft.Refused, match=r"cannot be merged|adds a bias"):
            pft.merge(other)
        assert snapshot(other) == before, "a refused merge leaves traces"
        assert torch.equal(logits(other, inputs), unmerged)


def check_rows(how: Any, architecture: str) -> None:
    """Rows see neither each other nor padding, and tokens do not see what comes after them.

    Only what the base itself keeps is asked of the method.
    """
    base = tiny(architecture)
    model = how.attach(tiny(architecture))
    perturb(model)
    # T5 is padded on the right: it measures distances by place, also to a prompt in front.
    sides = (False, True) if architecture.split("-")[0] in DECODERS else (False,)
    for left in sides:
        assert rows_are_alone(base, architecture, left), "the base itself sees padding"
        assert rows_are_alone(model, architecture, left), (
            f"sees {'left' if left else 'right'} padding, or another row"
        )
    if architecture in GENERATORS:
        inputs = batch(architecture)
        key = "decoder_input_ids" if architecture == "t5" else "input_ids"
        changed = inputs | {key: inputs[key].clone()}
        changed[key][:, -1] = 3 + (changed[key][:, -1] - 2) % 40
        assert close(logits(model, changed)[:, :-1], logits(model, inputs)[:, :-1]), "looks ahead"


def rows_are_alone(model: Any, architecture: str, left: bool) -> bool:
    """Whether each row of a padded batch is computed as it is alone."""
    together, alone = ragged(architecture, left)
    outputs = logits(model, together)
    for row, inputs in enumerate(alone):
        expected = logits(model, inputs)[0]
        seen = outputs[row]
        if expected.dim() == 2 and len(seen) != len(expected):
            seen = seen[-len(expected) :] if left else seen[: len(expected)]
        if not close(seen, expected):
            return False
    return True


def check_generation(how: Any, architecture: str) -> None:
    """Generating with a cache gives what generating without one gives, padding and beams too."""
    model = how.attach(tiny(architecture))
    perturb(model)
    together, alone = ragged(architecture, left=architecture != "t5")
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}

    def generate(inputs: dict[str, Tensor], **more: Any) -> Tensor:
        given = {k: inputs[k] for k in ("input_ids", "attention_mask")}
        return model.generate(**given, **options, **more)[:, -4:]

    cached = generate(together, use_cache=True)
    assert torch.equal(cached, generate(together, use_cache=False)), "the cache changes the words"
    assert torch.equal(cached[1:], generate(alone[1])), "padding changes the words"
    beams = generate(together, use_cache=True, num_beams=3)
    assert torch.equal(beams, generate(together, use_cache=False, num_beams=3)), "with beams"


def check_checkpointing(how: Any, architecture: str) -> None:
    """Gradient checkpointing gives the same gradients."""

    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = how.attach(tiny(architecture))
        perturb(model)
        model.train()
        for module in model.modules():  # no randomness: the two runs must do the same
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        with announced(model):
            output(model, batch(architecture)).pow(2).mean().backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    plain, checkpointed = gradients(False), gradients(True)
    for n, gradient in plain.items():
        assert close(checkpointed[n], gradient, 1e-5), n


def check_sixteen_bits(how: Any, architecture: str, folder: Path) -> None:
    """On a 16-bit base what is planted is trained in 32 bits; autocast works on a 32-bit one."""
    base = tiny(architecture).to(torch.bfloat16)
    inputs = batch(architecture)
    before = logits(base, inputs)
    model = how.attach(base)
    perturb(model)
    result = output(model, inputs)
    assert result.dtype == torch.bfloat16
    result.float().pow(2).sum().backward()
    planted = [p for n, p in model.named_parameters() if ".pft_" in f".{n}" and p.requires_grad]
    assert all(p.dtype == torch.float32 and p.grad is not None for p in planted)
    trained = logits(model, inputs)
    with pft.disabled(model):
        assert torch.equal(logits(model, inputs), before)
    pft.save(model, folder)
    loaded = pft.load(tiny(architecture).to(torch.bfloat16), folder)
    assert torch.equal(logits(loaded, inputs), trained)
    assert torch.equal(logits(pft.detach(model), inputs), before)

    model = how.attach(tiny(architecture))
    with torch.autocast("cpu", torch.bfloat16):
        result, plain = output(model, inputs), output(tiny(architecture), inputs)
        result.float().pow(2).sum().backward()
    assert result.dtype == plain.dtype, "under autocast the output has another type than the base's"
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in trained)


def check_compiling(how: Any, architecture: str) -> None:
    """`torch.compile` sees one graph, without a break, that computes the same."""
    model = tiny(architecture)
    if not how.plan(model):
        return  # nothing is planted: it is the base's graph
    if architecture == "bert":  # one layer will do, in half the time
        model.config.num_hidden_layers = 1
        del model.bert.encoder.layer[1]
    how.attach(model)
    perturb(model)
    inputs = batch(architecture)
    expected = logits(model, inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert close(logits(compiled, inputs), expected, 1e-6)


def check_stacking(how: Any, architecture: str) -> None:
    """On top of another method, and below one: each can go without a trace in the other."""
    inputs, other = batch(architecture), pft.LoRA(rank=2, at=("attention.output",))
    base = logits(tiny(architecture), inputs)
    for below, above in ((other, how), (how, other)):
        model = below.attach(tiny(architecture), "below")
        perturb(model)
        alone, lower = logits(model, inputs), snapshot(model)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        above.attach(model, "above")
        _perturb_others(model, trained)
        both = logits(model, inputs)
        # a probe adds nothing: the head is trained whatever is attached
        assert torch.equal(both, alone) == above.needs_head
        output(model, inputs).sum().backward()
        assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
        with pft.disabled(model):
            assert torch.equal(logits(model, inputs), base)
        without_below = pft.detach(copy.deepcopy(model), "below")
        assert list(pft.attached(without_below)) == ["above"]
        assert torch.equal(logits(pft.detach(without_below), inputs), base)
        pft.detach(model, "above")
        assert torch.equal(logits(model, inputs), alone), "detaching one changes the other"
        assert snapshot(model) == lower
        assert torch.equal(logits(pft.detach(model), inputs), base)


def _perturb_others(model: nn.Module, left_alone: set[str]) -> None:
    for n, p in model.named_parameters():
        if p.requires_grad and n not in left_alone:
            with torch.no_grad():
                p.add_(0.05 * torch.randn_like(p))


def check_error_half_way(how: Any, architecture: str, monkeypatch: Any) -> None:
    """An error while planting leaves the model as it was, also with another method attached."""
    from pftlab.core import attachment as core

    real, calls = core.plant, 0

    def failing(*given: Any) -> None:
        nonlocal calls
        calls += 1
        real(*given)
        if calls == 2:
            raise RuntimeError("half way")

    for occupied in (False, True):
        model = tiny(architecture)
        if occupied:
            pft.LoRA(rank=2, at=("attention.output",)).attach(model, "other")
        if len(how.plan(model)) < 2:
            return
        before, calls = snapshot(model), 0
        with monkeypatch.context() as patch:
            patch.setattr(core, "plant", failing)
            with pytest.raises(RuntimeError, match="half way"):
                how.attach(model)
        assert snapshot(model) == before
        assert hasattr(model, "pftlab") == occupied


def check_declaration(cls: Any) -> None:
    """The method stands where its row says, and every hyper-parameter is explained."""
    assert f"{cls.__module__}:{cls.__name__}" == f"pftlab.{cls.place}"
    assert cls.__dataclass_params__.frozen
    assert bool(cls.where) != bool(cls.at), "says where it acts in words, or by its sites"
    documented = "".join(c.__doc__ or "" for c in cls.__mro__ if issubclass(c, pft.core.Method))
    for field in fields(cls):
        assert re.search(rf"^ +{field.name}: ", documented, re.MULTILINE), field.name
