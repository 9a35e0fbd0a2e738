"""Many models that share one frozen base, computed in one pass.

K runs of one method differ in what they train and in nothing else: their deltas, their heads, the
base's own parameters where a method opens some. Here these tensors are stacked, (K, …) each, and
one batch holds the rows of all runs, those of the first run first. The pass is the model's own, on
K·B rows: a frozen module computes all of them in one product, as it would for a larger batch. A
module that has stacked tensors computes each run's rows with that run's own, by its own `forward`,
mapped over the runs (`torch.vmap`). So no method and no architecture says anything twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from transformers import PreTrainedModel

from ..core.delta import Delta, is_planted, planted
from ..core.errors import Refused
from ..core.grouped import with_values
from ..core.masters import HALF
from ..core.ports.attention import KeysValues
from ..core.ports.sequence import Text, TextMask
from ..core.ports.steps import own_callbacks
from ..core.ports.weight import WeightDelta
from ..core.record import attached
from ..tasks.encoding import IGNORED

Batch = dict[str, Tensor]
#: Callbacks by which a method acts on one model, step by step.
ACTING = {"before_step", "after_backward", "after_step", "extra_loss"}
ALIKE = 2e-3  # of a gradient's norm: what rounding may do to it in 32 bits
ALIKE_IN_HALF = 0.1  # and in 16 bits


class Stack:
    """Models of one kind, whose trained tensors are stacked and whose frozen ones are shared.

    Args:
        models: with the same method attached, in evaluation mode, on one device. The frozen
            tensors of all become those of the first, so that they take memory once.

    Attributes:
        values: name in the model → (K, …), of each tensor that is trained or that the runs have
            drawn differently. Those that are trained are leaves, in 32 bits at least.
        trained: the names of these.

    Raises:
        Refused: the models cannot share a pass; the reason is given.
    """

    def __init__(self, models: Sequence[PreTrainedModel]):
        self.models = list(models)
        self.first: Any = models[0]
        check_stackable(self.first)
        self.values, self.trained = _stacked(self.models)
        self.texts = [d for *_, d in planted(self.first) if isinstance(d, TextMask)]
        self.units = self._units()
        self.each = 0  # rows of a run in the pass that is going on

    def __len__(self) -> int:
        return len(self.models)

    @property
    def parameters(self) -> list[Tensor]:
        """What is trained, (K, …) each."""
        return [self.values[name] for name in self.trained]

    def __call__(self, batch: Batch) -> Any:
        """The first model's output for K·B rows, each run's computed with its own tensors."""
        with self.acting(len(batch["input_ids"]) // len(self)):
            return self.first(**batch)

    @contextmanager
    def acting(self, each: int) -> Iterator[None]:
        """Inside, the first model computes K times `each` rows as all the models would."""
        self.each = each
        for unit, replacing in self.units:
            for name, forward in replacing.items():
                object.__setattr__(unit, name, forward)
        try:
            yield
        finally:
            for unit, replacing in self.units:
                for name in replacing:
                    object.__delattr__(unit, name)

    def losses(self, output: Any, labels: Tensor) -> Tensor:
        """The loss of each run, (K,), as its own model would compute it for its rows."""
        logits = output.logits
        if logits.dtype in HALF:
            logits = logits.float()
        if self.first.config.num_labels == 1 and logits.shape[-1] == 1:
            away = F.mse_loss(logits.flatten(), labels.to(logits).flatten(), reduction="none")
            return away.view(len(self), -1).mean(1)
        if self.first.can_generate():  # the token before says what comes
            logits, labels = logits[:, :-1], labels[:, 1:]
        each = F.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        counts = (labels != IGNORED).view(len(self), -1).sum(1)
        return each.view(len(self), -1).sum(1) / counts

    def state(self, k: int) -> dict[str, Tensor]:
        """What is trained for one run, copied."""
        return {name: self.values[name][k].detach().clone() for name in self.trained}

    @torch.no_grad()
    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Let one run go on from what `state` gave."""
        for name in self.trained:
            self.values[name][k] = state[name]

    @torch.no_grad()
    def give(self) -> None:
        """Put into each model what has been trained for it."""
        for k, model in enumerate(self.models):
            own = _tensors(model)
            for name in self.trained:
                own[name].copy_(self.values[name][k])

    @torch.backends.cudnn.flags(enabled=False)  # its LSTM has no gradient in evaluation mode
    def check_alike(self, batch: Batch) -> None:
        """Compute the first and the last run alone as well, and compare their gradients.

        The models are in evaluation mode, without dropout. What a model sends past its modules'
        forwards, such as a table that all rows share, is found here and not in the results.

        Args:
            batch: of K·B rows, with labels.

        Raises:
            Refused: they differ by more than rounding.
        """
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        self.losses(self(inputs), batch["labels"]).sum().backward()
        together = {name: self.values[name].grad for name in self.trained}
        for name in self.trained:
            self.values[name].grad = None
        half = any(p.dtype in HALF for p in self.first.parameters())
        alike = ALIKE_IN_HALF if half else ALIKE
        each = len(batch["labels"]) // len(self)
        for k in dict.fromkeys((0, len(self) - 1)):
            model: Any = self.models[k]
            rows = slice(k * each, (k + 1) * each)
            model(**{name: value[rows] for name, value in batch.items()}).loss.backward()
            own = _tensors(model)
            wrong = []
            for name in self.trained:
                alone, stacked = own[name].grad, together[name]
                if alone is None and stacked is None:
                    continue
                if alone is None or stacked is None:
                    wrong.append(name)
                    continue
                away = (stacked[k] - alone).norm()
                if not away <= alike * (alone.norm() + 1e-4):
                    wrong.append(name)
            for parameter in model.parameters():
                parameter.grad = None
            if wrong:
                raise Refused(
                    f"{_titles(model)} cannot be trained for several runs in one pass on this "
                    f"{type(model).__name__}: the gradient of {wrong[0]} ({len(wrong)} of "
                    f"{len(self.trained)}) is another one than alone. Train the runs one by one."
                )
        untouched = [name for name in self.trained if together[name] is None]
        self.trained = tuple(name for name in self.trained if name not in untouched)

    def _units(self) -> list[tuple[nn.Module, dict[str, Callable]]]:
        """What has stacked tensors, with the functions that act in the place of its own."""
        names: dict[int, str] = {id(t): n for n, t in _tensors(self.first).items()}
        units: dict[int, tuple[nn.Module, dict[str, Callable]]] = {}
        inside: set[int] = set()
        for path, module in self.first.named_modules():
            if id(module) in inside:
                continue
            whole = isinstance(module, Delta)
            if whole:
                inside |= {id(m) for m in module.modules()}
            own = {
                leaf: names[id(tensor)]
                for leaf, tensor in _own_tensors(module, recurse=whole)
                if names[id(tensor)] in self.values
            }
            shown = [
                child.leaf
                for child in module.children()
                if isinstance(child, WeightDelta) and self._differs(child, names)
            ]
            if not own and not shown:
                continue
            if not whole and any(not isinstance(c, Delta) for c in module.children()):
                raise Refused(
                    f"{path} has parameters of its own and modules in it, which cannot be told "
                    "apart by runs. Train the runs one by one."
                )
            replacing: dict[str, Callable] = {
                "forward": partial(self._compute, module, type(module).forward, own, shown)
            }
            if isinstance(module, KeysValues) and type(module).finish is not KeysValues.finish:
                replacing["finish"] = partial(
                    self._compute, module, type(module).finish, own, shown
                )
            units[id(module)] = module, replacing
        return list(units.values())

    def _differs(self, delta: Delta, names: Mapping[int, str]) -> bool:
        return any(names[id(t)] in self.values for _, t in _own_tensors(delta, recurse=True))

    def _compute(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        own: Mapping[str, str],
        shown: Sequence[str],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """What `forward` of `module` makes of each run's rows with the run's own tensors.

        Args:
            module: of the first model.
            forward: of its class.
            own: name in the module → name in the model, of the stacked tensors.
            shown: parameters that weight deltas hide: what lies there is (K, …) by now.
            *args: of the call, as `kwargs`. Tensors with one row are for all runs, and so is the
                weight that a weight delta changes.
            **kwargs: see above.
        """
        rewrites_weight = isinstance(module, WeightDelta)
        given, form = tree_flatten((args, kwargs))
        by_run = [self._has_rows(each) and not rewrites_weight for each in given]
        types = {leaf: tensor.dtype for leaf, tensor in _own_tensors(module, recurse=True)}
        texts = [(text, read) for text in self.texts if (read := text.reading.look()) is not None]
        stacked = (
            {leaf: self.values[name].to(types[leaf]) for leaf, name in own.items()},
            {leaf: module.__dict__[leaf] for leaf in shown},
            [self._by_run(read.real) for _, read in texts],
            [self._by_run(each) for each, rows in zip(given, by_run, strict=True) if rows],
        )

        def one(values: Any, hidden: Any, real: Sequence[Tensor], tensors: Sequence[Tensor]) -> Any:
            copy, left = with_values(module, values), iter(tensors)
            copy.__dict__.update(hidden)
            for (text, read), mine in zip(texts, real, strict=True):
                text.reading.leave(Text(mine, read.begins))
            leaves = [
                next(left) if rows else each for each, rows in zip(given, by_run, strict=True)
            ]
            args, kwargs = tree_unflatten(leaves, form)
            return forward(copy, *args, **kwargs)

        try:
            if any(isinstance(part, nn.RNNBase) for part in module.modules()):
                each = [one(*tree_map(itemgetter(k), stacked)) for k in range(len(self))]
                result = tree_map(lambda *of_runs: torch.stack(of_runs), *each)
            else:
                result = torch.vmap(one, randomness="different")(*stacked)
        finally:
            for text, read in texts:
                text.reading.leave(read)
        return result if rewrites_weight else tree_map(self._in_rows, result)

    def _has_rows(self, given: Any) -> bool:
        return isinstance(given, Tensor) and len(given) > 1

    def _by_run(self, tensor: Tensor) -> Tensor:
        """Rows (K·B, …) as (K, B, …).

        Raises:
            Refused: the tensor has other rows.
        """
        rows, runs = len(tensor), len(self)
        if rows % (runs * self.each):
            raise Refused(
                f"This {type(self.first).__name__} sends something through a trained module that "
                f"has {rows} entries and not a multiple of {runs * self.each} rows: all runs would "
                "share it. Train the runs one by one."
            )
        return tensor.view(runs, rows // runs, *tensor.shape[1:])

    def _in_rows(self, result: Tensor) -> Tensor:
        """(K, B, …) as (K·B, …); what was computed from one row is there for each."""
        if result.shape[1] == 1:
            result = result.expand(-1, self.each, *result.shape[2:])
        return result.flatten(0, 1)


def check_stackable(model: Any) -> None:
    """Refuse what several runs cannot do in one pass.

    Raises:
        Refused: a method acts on one model in its steps, or the model is an encoder-decoder.
    """
    for method in attached(model).values():
        if acting := sorted(ACTING & set(own_callbacks(type(method)))):
            raise Refused(
                f"{method.title} acts in the steps of training ({', '.join(acting)}), on one "
                "model at a time. Train its runs one by one."
            )
    if model.config.is_encoder_decoder:
        raise Refused(
            f"A {type(model).__name__} has tables that all rows of a batch share, and the runs of "
            "one pass are rows. Train its runs one by one."
        )


def _titles(model: Any) -> str:
    return ", ".join(method.title for method in attached(model).values())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Name → tensor of every parameter and buffer, shared ones under their first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _own_tensors(module: nn.Module, recurse: bool) -> list[tuple[str, Tensor]]:
    """Those of a module, shared ones under all their names."""
    return [
        *module.named_parameters(recurse=recurse, remove_duplicate=False),
        *module.named_buffers(recurse=recurse, remove_duplicate=False),
    ]


@torch.no_grad()
def _stacked(models: Sequence[nn.Module]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The stacked tensors of models by name, and which are trained; all others become shared.

    Raises:
        Refused: the models have other tensors, or a frozen part of the base differs.
    """
    each = [_tensors(model) for model in models]
    shapes = [{name: (t.shape, t.dtype) for name, t in own.items()} for own in each]
    if any(other != shapes[0] for other in shapes):
        raise Refused(
            "The runs have tensors of different shapes, for their data have decided them. Train "
            "them one by one."
        )
    _check_plain(models)
    values: dict[str, Tensor] = {}
    trained = []
    for name, tensor in each[0].items():
        others = [own[name] for own in each]
        if tensor.requires_grad:
            kind = tensor.dtype if tensor.dtype == torch.float64 else torch.float32
            values[name] = torch.stack([t.detach().to(kind) for t in others]).requires_grad_()
            trained.append(name)
        elif all(_same(other, tensor) for other in others):
            for other in others:
                other.data = tensor.data
        elif is_planted(name):
            values[name] = torch.stack([t.detach() for t in others])
        else:
            raise Refused(
                f"The runs have different values of {name}, which they do not train: they have no "
                "base in common. Train them one by one."
            )
    return values, tuple(trained)


def share_frozen(first: nn.Module, model: nn.Module) -> None:
    """Let what neither of two equal models trains, and is equal in both, take memory once."""
    theirs = _tensors(first)
    for name, tensor in _tensors(model).items():
        other = theirs.get(name)
        if other is None or tensor.requires_grad or other.requires_grad:
            continue
        if tensor.shape == other.shape and _same(tensor, other):
            tensor.data = other.data


def _same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _check_plain(models: Sequence[nn.Module]) -> None:
    """Refuse deltas that differ in something else than tensors.

    Raises:
        Refused: they have drawn numbers, of places perhaps, that no tensor holds.
    """
    kept = [
        [
            (path, name, value)
            for path, module in model.named_modules()
            if is_planted(path)
            for name, value in vars(module).items()
            if _is_plain(value)
        ]
        for model in models
    ]
    for other in kept[1:]:
        for (path, name, value), (_, _, theirs) in zip(kept[0], other, strict=True):
            if value != theirs:
                raise Refused(
                    f"The runs differ in {path}.{name}, which is no tensor. Train them one by one."
                )


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list | frozenset):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str)
