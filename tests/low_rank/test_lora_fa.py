"""LoRA-FA: A does not move, and the inputs of the projections are not kept for it."""

from pathlib import Path

import peft
import torch
from low_rank_setup import update_at_up
from oracle import delta_at
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_the_update_is_that_of_lora() -> None:
    delta, _, update = update_at_up(pft.LoRAFA(rank=3, alpha=5.0, at=("ffn.up",)))
    assert torch.allclose(update, 5 / 3 * delta.B.detach() @ delta.A.detach(), atol=1e-5)


def saved(method: pft.LoRA) -> dict[int, torch.Tensor]:
    """What autograd keeps of one forward pass, without parameters: address → tensor."""
    model = method.attach(tiny("bert"))
    perturb(model)
    kept: dict[int, torch.Tensor] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.train()(**batch("bert", size=3))
    assert output.logits.requires_grad
    return kept


def test_the_input_of_a_projection_is_not_kept() -> None:
    """Query and value of a layer share x (3, 7, 32): one tensor less for each of two layers."""
    at = ("attention.query", "attention.value")
    lora, frozen = saved(pft.LoRA(rank=2, at=at)), saved(pft.LoRAFA(rank=2, at=at))

    def numbers(kept: dict[int, torch.Tensor]) -> int:
        return sum(tensor.numel() for tensor in kept.values())

    assert numbers(lora) - numbers(frozen) == 2 * 3 * 7 * 32


def test_one_delta_keeps_rank_numbers_for_each_token() -> None:
    """Counted at a single delta, whose input needs a gradient as it does inside a network."""
    found = {}
    for method in (pft.LoRA(rank=2), pft.LoRAFA(rank=2)):
        delta = method.delta(pft.sites(tiny("bert"), ("attention.query",))[0]).train()
        shapes: list[tuple[int, ...]] = []
        x, h = torch.randn(3, 7, 32, requires_grad=True), torch.randn(3, 7, 32)

        def keep(tensor: torch.Tensor, shapes: list = shapes) -> torch.Tensor:
            shapes.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            delta(x, h)
        tokens = [s for s in shapes if torch.Size(s).numel() in (21 * 32, 21 * 2)]
        found[type(method)] = sorted(torch.Size(s).numel() // 21 for s in tokens)
    assert found == {pft.LoRA: [2, 32], pft.LoRAFA: [2]}


def test_a_stays_and_is_saved_as_a_lora_of_peft(tmp_path: Path) -> None:
    model = pft.LoRAFA(rank=3, alpha=5.0).attach(tiny("bert"))
    delta = delta_at(model, "bert.encoder.layer.0.attention.self.query")
    before = delta.A.detach().clone()
    perturb(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=0.1)
    model(**batch("bert")).logits.sum().backward()
    optimiser.step()
    assert torch.equal(delta.A, before) and delta.B.any()
    pft.save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path)
    with torch.no_grad():
        assert torch.allclose(
            theirs.eval()(**batch("bert")).logits, model(**batch("bert")).logits, atol=1e-5
        )
    again = pft.attached(pft.load(tiny("bert"), tmp_path))
    assert again == {"lora_fa": pft.LoRAFA(rank=3, alpha=5.0)}


def test_count_is_half_of_lora_for_square_matrices() -> None:
    model = pft.LoRAFA(rank=8).attach(blank("roberta-base"))
    assert pft.count(model).trainable == 294_912 // 2
