"""What every method must keep, each as a check of its own; see `pftlab.testing`.

A check is a function of a `Case`, one method on one tiny model. It raises an AssertionError that
says what is broken.
"""

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import registry
from ..core import attached, detach, disabled, is_planted, trainable_state
from ..core.active import rows as choose_rows
from ..core.active import use
from ..core.count import count
from ..core.errors import Refused
from ..core.merge import merge
from ..core.method import Method
from ..core.ports.steps import announced
from ..core.ports.weight import WeightDelta
from ..low_rank.lora import LoRA
from ..training import Lifecycle
from . import models
from .models import FEW, batch, logits, output, perturb, ragged, tiny

Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One method on one tiny model.

    Attributes:
        method: with its hyper-parameters.
        on: the name of the model in `pftlab.testing.models.MODELS`.
        folder: an empty one, to write into.
    """

    method: Any
    on: str
    folder: Path

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Two rows without padding."""
        return batch(self.on)

    @cached_property
    def before(self) -> Tensor:
        """What the base computes of `inputs`."""
        return logits(tiny(self.on), self.inputs)

    def fresh(self, model: Any = None) -> Any:
        """The method, attached and untrained; the same random numbers at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.method.attach(tiny(self.on) if model is None else model)

    def moved(self, model: Any = None) -> Any:
        """The method attached, and all that it trains moved, as training would."""
        model = self.fresh(model)
        perturb(model)
        return model

    def trained(self, model: Any = None) -> Any:
        """The method attached and trained for two steps, with all that it does in the loop."""
        model = self.moved(model)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            train(model, self.inputs)
        perturb(model, seed=2)
        return model


@dataclass(frozen=True)
class Check:
    """A check, and the models on which it is made.

    Attributes:
        name: by which a method's facts name it in `cannot`.
        run: raises AssertionError where the method does not keep it.
        on: names of models; (): all.
        writes: only on models that write words.
    """

    name: str
    run: Callable[[Case], None]
    on: tuple[str, ...] = ()
    writes: bool = False

    def concerns(self, model: str) -> bool:
        """Whether it is made on the tiny model of this name."""
        if self.writes and models.task(model) not in ("causal_lm", "seq2seq_lm"):
            return False
        return not self.on or model in self.on


CHECKS: dict[str, Check] = {}


def check(*on: str, writes: bool = False) -> Callable[[Callable[[Case], None]], Any]:
    """Add a function to `CHECKS`, under its name."""

    def add(function: Callable[[Case], None]) -> Callable[[Case], None]:
        CHECKS[function.__name__] = Check(function.__name__, function, on, writes)
        return function

    return add


@check()
def base_untouched(case: Case) -> None:
    """Attaching leaves the base's keys and values; outputs keep their shape and type."""
    plain = tiny(case.on).state_dict()
    model = case.fresh()
    now = {k: v for k, v in model.state_dict().items() if not is_planted(k)}
    assert list(now) == list(plain), "attaching changes the keys of the base"
    changed = [k for k, v in now.items() if _bits(v) != _bits(plain[k])]
    assert not changed, f"attaching changes {changed[0]}"
    start = logits(model, case.inputs)
    assert start.shape == case.before.shape, "the output has another shape"
    assert start.dtype == case.before.dtype, "the output has another type"


@check()
def start(case: Case) -> None:
    """Untrained, the model computes the base if the method says so, and only then."""
    found = logits(case.fresh(), case.inputs)
    if case.method.identity_at_start:
        assert close(found, case.before, 1e-6), "is not the identity at the start"
    else:
        assert not torch.equal(found, case.before), "is the identity at the start"


@check()
def gradients(case: Case) -> None:
    """Every trainable parameter has a gradient that is not zero, and no frozen one has any.

    A change of weights may concern words that the batch does not have, so its may be zero.
    """
    model = case.moved()
    output(model, batch(case.on, size=8)).pow(2).sum().backward()
    of_weights = {
        id(p) for m in model.modules() if isinstance(m, WeightDelta) for p in m.parameters()
    }
    idle = models.without_effect(case.on)
    for n, p in model.named_parameters():
        if not p.requires_grad:
            assert p.grad is None, f"{n} is frozen and has a gradient"
            continue
        assert p.grad is not None, f"{n} is trainable and has no gradient"
        if n in idle:
            assert p.grad.abs().max() < 1e-4, f"{n} has no effect in the base and has one here"
        elif p.numel() and id(p) not in of_weights:
            assert p.grad.abs().max() > 0, f"{n} is dead: its gradient is zero"


@check()
def counted(case: Case) -> None:
    """`count` finds every trainable parameter."""
    model = case.fresh()
    found = count(model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == found.trainable + found.head, "count misses trainable parameters"


@check()
def training(case: Case) -> None:
    """Training changes what the model computes, and nothing that is frozen."""
    model = case.moved()
    frozen = {n: _bits(p) for n, p in model.named_parameters() if not p.requires_grad}
    train(model, case.inputs)
    perturb(model, seed=2)
    assert not close(logits(model, case.inputs), case.before, 1e-6), "training changes nothing"
    now = dict(model.named_parameters())
    moved = [n for n, bits in frozen.items() if n in now and _bits(now[n]) != bits]
    assert not moved, f"training moves what is frozen: {moved[0]}"


@check()
def disabling(case: Case) -> None:
    """Inside `disabled` it is the base bit for bit, and an error in there leaves no trace."""
    model = case.trained()
    trained = logits(model, case.inputs)
    with disabled(model):
        assert torch.equal(logits(model, case.inputs), case.before), "disabled is not the base"
    with raises(Exception), disabled(model):
        model(input_ids=case.inputs["input_ids"] + 10**6)  # there are no such words
    assert torch.equal(logits(model, case.inputs), trained), "an error in disabled is felt after it"


@check()
def copies(case: Case) -> None:
    """Copies and pickles run their own deltas, and let go of them."""
    model = case.trained()
    trained = logits(model, case.inputs)
    for duplicate in (copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        other = duplicate(model)
        assert torch.equal(logits(other, case.inputs), trained), "a copy computes something else"
        perturb_planted(other)
        found = logits(other, case.inputs)
        assert not torch.equal(found, trained), "a copy runs the original's deltas"
        assert torch.equal(logits(model, case.inputs), trained), "a copy changes the original"
        found = logits(detach(other), case.inputs)
        assert torch.equal(found, case.before), "a copy cannot detach"
        assert torch.equal(logits(model, case.inputs), trained), "detaching a copy is felt"


@check()
def files(case: Case) -> None:
    """What is saved is loaded bit for bit."""
    model = case.trained()
    with known(case.method):
        registry.save(model, case.folder)
        loaded = registry.load(tiny(case.on), case.folder)
    found, expected = logits(loaded, case.inputs), logits(model, case.inputs)
    assert torch.equal(found, expected), "loaded computes otherwise"
    assert attached(loaded) == attached(model), "loaded has other hyper-parameters"
    ours, theirs = trainable_state(loaded), trainable_state(model)
    assert ours.keys() == theirs.keys(), "loaded trains something else"
    differs = [n for n in ours if not torch.equal(ours[n], theirs[n])]
    assert not differs, f"loaded has another {differs[0]}"


@check()
def size_of_file(case: Case) -> None:
    """A file holds what was trained, byte for byte, unless the method's facts say otherwise."""
    model = case.trained()
    with known(case.method):
        registry.save(model, case.folder)
    stored = load_file(case.folder / "adapter_model.safetensors")
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    held = sum(t.nbytes for t in stored.values())
    if case.method.stores_less:
        assert held < trained, f"the file holds {case.method.stores_less}"
    elif case.method.stores_more or models.has_fused_projections(case.on):
        # the rows of a fused projection that are not adapted are zeros in a file for PEFT
        assert trained <= held <= 4 * trained, "the file holds more than what was trained"
    else:
        assert held == trained, "the file does not hold what was trained, and that alone"
    size = (case.folder / "adapter_model.safetensors").stat().st_size
    # a kilobyte or two on the methods and the base, and each tensor's name and place
    assert size <= held + 2048 + 300 * len(stored), "the file's header is large"


@check()
def merging(case: Case) -> None:
    """Merged computes the same with the base's keys, or is refused with a reason."""
    model = case.trained()
    unmerged, keys = logits(model, case.inputs), list(tiny(case.on).state_dict())
    if case.method.mergeable:
        try:
            merge(model)
        except Refused as error:
            raise AssertionError(f"says that it merges, and is refused: {error}") from error
        assert list(model.state_dict()) == keys, "merged has other keys than the base"
        found = logits(model, case.inputs)
        assert close(found, unmerged, 3e-5), "merged computes something else"
        assert not attached(model), "merged is still attached"
    else:
        before = snapshot(model)
        with raises(Refused):
            merge(model)
        assert snapshot(model) == before, "a refused merge leaves traces"
        assert torch.equal(logits(model, case.inputs), unmerged), "a refused merge is felt"


@check()
def detaching(case: Case) -> None:
    """Detaching brings the base back bit for bit, in every respect."""
    base = tiny(case.on)
    next(base.parameters()).requires_grad_(False)  # flags come back as they were, not as True
    plain = snapshot(base)
    model = detach(case.trained(base))
    assert torch.equal(logits(model, case.inputs), case.before), "detached is not the base"
    assert snapshot(model) == plain, "detaching leaves something behind"


@check()
def rows(case: Case) -> None:
    """A row is computed as it is alone: neither padding nor the other rows are seen.

    Only what the base itself keeps is asked of the method. Models that are no decoders are padded
    on the right alone: T5 measures distances by place, also to a prompt in front.
    """
    base, model = tiny(case.on), case.moved()
    for left in (False, True) if models.looks_back_only(case.on) else (False,):
        assert rows_are_alone(base, case.on, left), "the base itself sees padding"
        side = "left" if left else "right"
        assert rows_are_alone(model, case.on, left), f"sees {side} padding, or another row"


@check(writes=True)
def looking_ahead(case: Case) -> None:
    """In a model that writes words, no word sees what comes after it."""
    model = case.moved()
    key = "decoder_input_ids" if "decoder_input_ids" in case.inputs else "input_ids"
    changed = case.inputs | {key: case.inputs[key].clone()}
    changed[key][:, -1] = 3 + (changed[key][:, -1] - 2) % 40
    found, expected = logits(model, changed)[:, :-1], logits(model, case.inputs)[:, :-1]
    assert close(found, expected), "looks ahead"


@check(writes=True)
def generation(case: Case) -> None:
    """Writing with a cache gives what writing without one gives, padding and beams too."""
    model = case.moved()
    together, alone = ragged(case.on, left=models.looks_back_only(case.on))
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}

    def generate(inputs: dict[str, Tensor], **more: Any) -> Tensor:
        given = {k: inputs[k] for k in ("input_ids", "attention_mask")}
        return model.generate(**given, **options, **more)[:, -4:]

    cached = generate(together, use_cache=True)
    plain = generate(together, use_cache=False)
    assert torch.equal(cached, plain), "the cache changes the words"
    assert torch.equal(cached[1:], generate(alone[1])), "padding changes the words"
    beams = generate(together, use_cache=True, num_beams=3)
    plain = generate(together, use_cache=False, num_beams=3)
    assert torch.equal(beams, plain), "the cache changes the words of beams"


@check(*FEW)
def checkpointing(case: Case) -> None:
    """Gradient checkpointing gives the same gradients, whether it is reentrant or not."""

    def found(reentrant: bool | None) -> Gradients:
        model = case.moved()
        model.train()
        for module in model.modules():  # no randomness: the two runs must do the same
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        if reentrant is not None:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        if reentrant:  # the older kind sees no gradient behind inputs that need none
            model.enable_input_require_grads()
        with torch.random.fork_rng(), announced(model):
            torch.manual_seed(0)
            output(model, case.inputs).pow(2).mean().backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    plain = found(None)
    for reentrant in (False, True):
        checkpointed = found(reentrant)
        for n, gradient in plain.items():
            assert close(checkpointed[n], gradient, 1e-5), f"{n} has another gradient"


@check("bert", "llama")
def sixteen_bits(case: Case) -> None:
    """On a 16-bit base what is planted is trained in 32 bits; autocast works on a 32-bit one."""
    base = tiny(case.on).to(torch.bfloat16)
    before = logits(base, case.inputs)
    model = case.moved(base)
    result = output(model, case.inputs)
    assert result.dtype == torch.bfloat16, "the output is not in 16 bits"
    result.float().pow(2).sum().backward()
    for n, p in model.named_parameters():
        if is_planted(n) and p.requires_grad:
            assert p.dtype == torch.float32, f"{n} is trained in {p.dtype}"
            assert p.grad is not None, f"{n} has no gradient in 16 bits"
    trained = logits(model, case.inputs)
    with disabled(model):
        assert torch.equal(logits(model, case.inputs), before), "disabled is not the 16-bit base"
    with known(case.method):
        registry.save(model, case.folder)
        loaded = registry.load(tiny(case.on).to(torch.bfloat16), case.folder)
    assert torch.equal(logits(loaded, case.inputs), trained), "loaded in 16 bits differs"
    assert torch.equal(logits(detach(model), case.inputs), before), "detached is not the base"

    model, types = case.fresh(), types_of_outputs(tiny(case.on), case.inputs)
    for name, kind in types_of_outputs(model, case.inputs).items():
        assert types[name] == kind, f"under autocast {name} gives {kind}, and {types[name]} alone"
    with torch.autocast("cpu", torch.bfloat16):
        output(model, case.inputs).float().pow(2).sum().backward()
    for n, p in model.named_parameters():
        assert p.grad is not None or not p.requires_grad, f"{n} has no gradient under autocast"


@check("bert")
def compiling(case: Case) -> None:
    """`torch.compile` sees one graph, without a break, that computes the same."""
    model = tiny(case.on)
    if not case.method.plan(model):
        return  # nothing is planted: it is the base's graph
    if case.on == "bert":  # one layer will do, in half the time
        model.config.num_hidden_layers = 1
        del model.bert.encoder.layer[1]
    model = case.moved(model)
    expected = logits(model, case.inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert close(logits(compiled, case.inputs), expected, 1e-6), "compiled computes otherwise"


@check("bert", "gpt2")
def stacking(case: Case) -> None:
    """On top of another method, and below one: each can go without a trace in the other."""
    how, inputs, other = case.method, case.inputs, LoRA(rank=2, at=("attention.output",))
    for below, above in ((other, how), (how, other)):
        model = below.attach(tiny(case.on), "below")
        perturb(model)
        alone, lower = logits(model, inputs), snapshot(model)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        above.attach(model, "above")
        _perturb_others(model, trained)
        both = logits(model, inputs)
        # a probe adds nothing: the head is trained whatever is attached
        assert torch.equal(both, alone) == above.needs_head, "the second method has no effect"
        output(model, inputs).sum().backward()
        assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
        with disabled(model):
            assert torch.equal(logits(model, inputs), case.before), "disabled is not the base"
        without_below = detach(copy.deepcopy(model), "below")
        assert list(attached(without_below)) == ["above"]
        assert torch.equal(logits(detach(without_below), inputs), case.before)
        detach(model, "above")
        assert torch.equal(logits(model, inputs), alone), "detaching one changes the other"
        assert snapshot(model) == lower, "detaching one leaves something in the other"
        assert torch.equal(logits(detach(model), inputs), case.before), "detached is not the base"


@check("bert", "gpt2", "t5")
def switching(case: Case) -> None:
    """Two of a kind take turns, and the base: each computes what it did alone, and is trained."""
    model = tiny(case.on)
    alone, trained = two(case, model)
    for name in ("one", None, "two", "one"):
        use(model, name)
        found = logits(model, case.inputs)
        assert torch.equal(found, alone[name]), f"{name} in use computes something else"
        flags = {n for n, p in model.named_parameters() if p.requires_grad}
        assert flags == trained.get(name, set()), f"with {name} in use, others are trained"
    use(model, None)
    assert torch.equal(logits(detach(model), case.inputs), case.before), "detached is not the base"


@check(*FEW)
def mixing(case: Case) -> None:
    """Rows of one batch have each its own of two of a kind, or the method says why they cannot."""
    model, inputs = tiny(case.on), batch(case.on, size=4)
    alone, _ = two(case, model, inputs)
    names = ("one", "two", None, "one")
    use(model, None)
    before = snapshot(model)
    try:
        with choose_rows(model, names):
            found = logits(model, inputs)
    except Refused as error:
        assert "cannot" in str(error), f"a refusal without a reason: {error}"
        assert snapshot(model) == before, "a refused mixture leaves traces"
        return
    for row, name in enumerate(names):
        assert close(found[row], alone[name][row]), f"row {row} is not what {name} computes alone"
    assert torch.equal(logits(model, inputs), alone[None]), "a mixture is felt after it"


@check("bert", "gpt2")
def error_half_way(case: Case) -> None:
    """An error while planting leaves the model as it was, also with another method attached."""

    def half(model: Any) -> list[Any]:
        plan = case.method.plan(model)
        return [*plan, (plan[0][0], None)]  # None cannot be planted

    if not case.method.plan(tiny(case.on)):
        return
    for occupied in (False, True):
        model = tiny(case.on)
        if occupied:
            LoRA(rank=2, at=("attention.output",)).attach(model, "other")
        broken = copy.copy(case.method)
        object.__setattr__(broken, "plan", half)
        before = snapshot(model)
        with raises(Exception):
            broken.attach(model)
        assert snapshot(model) == before, "an error while planting leaves something behind"
        assert hasattr(model, "pftlab") == occupied, "an error while planting is recorded"


# What the checks share


def two(
    case: Case, model: Any, inputs: Any = None
) -> tuple[dict[str | None, Tensor], dict[str | None, set[str]]]:
    """Attach the method as "one" and as "two"; what each computes alone, and what each trains."""
    inputs = case.inputs if inputs is None else inputs
    alone: dict[str | None, Tensor] = {None: logits(model, inputs)}
    trained: dict[str | None, set[str]] = {}
    for seed, name in enumerate(("one", "two"), start=3):
        if attached(model):
            use(model, None)
        case.method.attach(model, name, seed=seed)
        perturb(model, seed)
        alone[name] = logits(model, inputs)
        trained[name] = {n for n, p in model.named_parameters() if p.requires_grad}
    return alone, trained


@contextmanager
def raises(kind: type[Exception]) -> Iterator[None]:
    """The block raises an error of this kind, which ends here."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"no {kind.__name__} was raised")


@contextmanager
def known(method: Method) -> Iterator[None]:
    """Inside the block the method is registered, so that it can be loaded."""
    own = {} if method.name in registry.METHODS else {method.name: type(method)}
    with patch.dict(registry._OWN, own):
        yield


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


def types_of_outputs(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, torch.dtype]:
    """Under autocast: name of a module of the base → type of the numbers that it returns."""
    found: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: Any, result: Any) -> None:
            first = result[0] if isinstance(result, tuple) else result
            if isinstance(first, Tensor):
                found[name] = first.dtype

        return hook

    handles = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if not is_planted(name)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        logits(model, inputs)
    for handle in handles:
        handle.remove()
    return found


def rows_are_alone(model: Any, name: str, left: bool) -> bool:
    """Whether each row of a padded batch is computed as it is alone."""
    together, alone = ragged(name, left)
    outputs = logits(model, together)
    for row, inputs in enumerate(alone):
        expected = logits(model, inputs)[0]
        seen = outputs[row]
        if expected.dim() == 2 and len(seen) != len(expected):
            seen = seen[-len(expected) :] if left else seen[: len(expected)]
        if not close(seen, expected):
            return False
    return True


def perturb_planted(model: nn.Module) -> None:
    """Move what is planted; where nothing is, everything trainable."""
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    planted = [p for n, p in trainable.items() if is_planted(n)]
    with torch.no_grad():
        for parameter in planted or trainable.values():
            parameter.add_(0.05 * torch.randn_like(parameter))


def _perturb_others(model: nn.Module, left_alone: set[str]) -> None:
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.requires_grad and n not in left_alone:
                p.add_(0.05 * torch.randn_like(p))
