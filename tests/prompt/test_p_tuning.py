"""P-tuning: its encoders written out, its template word by word, and PEFT's checkpoints."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import ENCODERS, PROMPTED, shape, task_type
from safetensors.torch import load_file
from tiny import batch, letters_tokenizer, padded, perturb, ragged, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank
from pftlab.prompt.p_tuning import EncodedPrompt
from pftlab.testing import check_method, checks

TENSORS = "adapter_model.safetensors"


def prompt_of(model: Any) -> EncodedPrompt:
    (prompt,) = (d for *_, d in planted(model) if isinstance(d, EncodedPrompt))
    return prompt


def test_lstm_step_by_step() -> None:
    """The two-layer bidirectional LSTM gate by gate, then the MLP."""
    model = pft.PTuning(length=4, hidden=3).attach(tiny("bert"))
    perturb(model)
    prompt = prompt_of(model)
    weights = dict(prompt.recurrent.named_parameters())

    def direction(rows: list[torch.Tensor], suffix: str) -> list[torch.Tensor]:
        h = c = torch.zeros(3)
        out = []
        for x in rows:
            z = weights[f"weight_ih_{suffix}"] @ x + weights[f"bias_ih_{suffix}"]
            z = z + weights[f"weight_hh_{suffix}"] @ h + weights[f"bias_hh_{suffix}"]
            i, f, g, o = z.chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return out

    rows = list(prompt.P)
    for layer in ("l0", "l1"):
        forth, back = direction(rows, layer), direction(rows[::-1], f"{layer}_reverse")[::-1]
        rows = [torch.cat(pair) for pair in zip(forth, back, strict=True)]
    first, last = prompt.mlp[0], prompt.mlp[2]
    expected = [last.weight @ torch.relu(first.weight @ r + first.bias) + last.bias for r in rows]
    assert torch.allclose(prompt.vectors(), torch.stack(expected), atol=1e-6)


@pytest.mark.parametrize("encoder", ["lstm", "mlp"])
def test_the_encoder_computes_in_32_bits_under_autocast(encoder: str) -> None:
    """Not every processor has an LSTM of 16 bits."""
    model = pft.PTuning(length=4, hidden=3, encoder=encoder).attach(tiny("bert"))
    expected = prompt_of(model).vectors()
    with torch.autocast("cpu", torch.bfloat16):
        vectors = prompt_of(model).vectors()
        model(**batch("bert")).logits.float().sum().backward()
    assert vectors.dtype == torch.float32 and torch.equal(vectors, expected)
    assert prompt_of(model).P.grad.abs().max() > 0


def by_hand(name: str, row: dict[str, Any], model: Any, places: tuple[int, ...]) -> torch.Tensor:
    """Logits of one row without padding, with its prompt put among its words one by one."""
    base, vectors = tiny(name), prompt_of(model).vectors().detach()
    ids = row["input_ids"][0]
    places = tuple(len(ids) + place if place < 0 else place for place in places)
    table = base.get_input_embeddings().weight
    sequence, words = [], []
    for t in range(len(ids) + 1):
        sequence += [v for place, v in zip(places, vectors, strict=True) if place == t]
        if t < len(ids):
            words.append(len(sequence))
            sequence.append(table[ids[t]])
    embedded = torch.stack(sequence)[None]
    with torch.no_grad():
        if name == "t5":
            return base(inputs_embeds=embedded, decoder_input_ids=row["decoder_input_ids"]).logits
        logits = base(inputs_embeds=embedded).logits
    return logits if name == "bert" else logits[:, words]


@pytest.mark.parametrize("name", ["bert", "bert-tagging", "gpt2", "llama", "opt", "t5"])
@pytest.mark.parametrize("places", [(1, 1, 3, -1), (2, 0, 2, -2)])
def test_pieces_at_several_places(name: str, places: tuple[int, ...]) -> None:
    """Rows of different length, padded: each as it is alone with its prompt put in by hand."""
    if name == "bert":
        places = tuple(p or 1 for p in places)  # the classifier reads what comes first
    decoder = name in ("gpt2", "llama", "opt")
    if decoder:  # their text has no end
        places = tuple(p if p >= 0 else 4 - p for p in places)
    how = pft.PTuning(length=4, hidden=8, encoder="mlp", position=places)
    model = how.attach(tiny(name))
    checks.perturb_planted(model)
    together, alone = ragged(name, left=decoder)
    outputs = checks.logits(model, together)
    for row, inputs in enumerate(alone):
        expected = by_hand(name, inputs, model, places)
        seen = outputs[row : row + 1]
        if expected.dim() == 3:
            n = expected.shape[1]
            seen = seen[:, -n:] if decoder else seen[:, :n]
        assert checks.close(seen, expected), row
    right = checks.logits(model, padded(name, batch(name)))
    plain = checks.logits(model, batch(name))
    assert checks.close(right[:, : plain.shape[1]] if plain.dim() == 3 else right, plain)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "opt"])
def test_pieces_at_several_places_in_generation(name: str, tmp_path: Path) -> None:
    places = (0, 2, -1) if name == "t5" else (0, 2, 4)
    for how in (
        pft.PTuning(length=3, hidden=8, position=places),
        pft.PromptTuning(length=3, position=1),  # in one block
    ):
        checks.generation(checks.Case(how, name, tmp_path))


def test_a_decoder_has_no_end_to_count_from() -> None:
    model = tiny("gpt2")
    before = checks.snapshot(model)
    with pytest.raises(pft.Refused, match="Count all places from the front"):
        pft.PTuning(length=2, position=(0, -1)).attach(model)
    assert checks.snapshot(model) == before


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize(
    "how",
    [
        pft.PTuning(length=2, hidden=8, anchors=(None, 7, None, 9), position=(1, 1, 4, 3)),
        pft.PTuning(length=3, hidden=8, encoder="mlp", position=0),
        pft.PTuning(length=3, encoder="none"),
    ],
)
def test_other_forms_keep_the_contract(name: str, how: Any) -> None:
    check_method(how, on=(name,))


def test_template() -> None:
    tokenizer = letters_tokenizer()
    how = pft.PTuning.from_template(tokenizer, "[P][P] q: [TEXT] [P] ? [P]", hidden=8)
    q, colon, mark = (tokenizer(c, add_special_tokens=False)["input_ids"][0] for c in "q:?")
    assert how.anchors == (None, None, q, colon, None, mark, None)
    assert how.position == (1, 1, 1, 1, -1, -1, -1) and how.length == 4
    model = how.attach(tiny("bert"))
    vectors, words = prompt_of(model).vectors(), model.bert.embeddings.word_embeddings.weight
    for slot, id_ in ((2, q), (3, colon), (5, mark)):
        assert torch.equal(vectors[slot], words[id_])
    assert vectors.requires_grad and not words.requires_grad

    class Open:  # as GPT-2's: nothing around a text
        all_special_ids: tuple[int, ...] = ()

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [5] * len(text.split())}

    assert pft.PTuning.from_template(Open(), "[P] a [TEXT]").position == (0, 0)
    with pytest.raises(pft.BadValue, match="answers at its last word"):
        pft.PTuning.from_template(Open(), "[TEXT] [P]")
    for template in ("[P]", "[TEXT]", "[TEXT] [P] [TEXT]"):
        with pytest.raises(pft.BadValue, match="one .TEXT. and at least one"):
            pft.PTuning.from_template(tokenizer, template)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": "gru"}, "one of lstm"),
        ({"hidden": 0}, "at least 1"),
        ({"length": 2, "anchors": (None, 5)}, r"1 slots .None. for length=2"),
        ({"length": 2, "position": (1,)}, "1 places for 2 vectors"),
        ({"position": -1}, "in a tuple"),
    ],
)
def test_impossible_hyperparameters(values: dict[str, Any], message: str) -> None:
    with pytest.raises(pft.BadValue, match=message):
        pft.PTuning(**values)
    with pytest.raises(pft.BadValue, match="beyond this model"):
        pft.PTuning(length=1, anchors=(None, 99), position=0).attach(tiny("bert"))


@pytest.mark.parametrize(
    ("how", "size", "count"),
    [
        (pft.PTuning(length=20), "bert-base", 8_271_360 + 20 * 768),  # the code for LAMA
        (pft.PTuning(length=20), "bert-large", 14_698_496 + 20 * 1024),
        (pft.PTuning(length=20, encoder="mlp", hidden=128), "bert-base", 229_376),
        (pft.PTuning(length=20, encoder="lstm", hidden=128), "bert-base", 1_593_344),
    ],
)
def test_published_counts(how: Any, size: str, count: int) -> None:
    assert pft.count(how.attach(blank(size))).trainable == count


def peft_model(name: str, encoder: str) -> Any:
    """PEFT's P-tuning with an encoder of width 8."""
    settings = peft.PromptEncoderConfig(
        num_virtual_tokens=3,
        task_type=task_type(name),
        encoder_hidden_size=8,
        encoder_reparameterization_type=encoder.upper(),
        **shape(name),
    )
    return peft.get_peft_model(tiny(name), settings).eval()


def words_only(model: Any, name: str) -> torch.Tensor:
    """PEFT's decoders also answer for the prompt."""
    found = checks.logits(model.eval(), batch(name))
    return found if name in (*ENCODERS, "t5") else found[:, -batch(name)["input_ids"].shape[1] :]


@pytest.mark.parametrize(
    ("name", "encoder"),
    [(n, e) for n in PROMPTED for e in ("mlp", "lstm") if (n, e) != ("t5", "lstm")],
)
def test_gradients_equal_those_of_peft(name: str, encoder: str) -> None:
    """For T5 PEFT has a second prompt, which nothing reads; but its LSTM runs through both."""
    theirs = peft_model(name, encoder)
    ours = pft.PTuning(length=3, encoder=encoder, hidden=8, position=0).attach(tiny(name))
    inner, prompt = theirs.prompt_encoder["default"], prompt_of(ours)
    with torch.no_grad():
        prompt.P.copy_(inner.embedding.weight[:3])
    prompt.mlp.load_state_dict(inner.mlp_head.state_dict())
    if encoder == "lstm":
        prompt.recurrent.load_state_dict(inner.lstm_head.state_dict())
    n = batch(name)["input_ids"].shape[1]
    for model in (theirs, ours):
        model.train()
        torch.manual_seed(1)  # the same dropout on both sides
        logits = model(**batch(name)).logits
        (logits if name in (*ENCODERS, "t5") else logits[:, -n:]).pow(2).sum().backward()
    assert checks.close(prompt.P.grad, inner.embedding.weight.grad[:3])
    for mine, its in zip(prompt.mlp.parameters(), inner.mlp_head.parameters(), strict=True):
        assert checks.close(mine.grad, its.grad)


def test_a_template_is_saved_in_our_own_form(tmp_path: Path) -> None:
    how = pft.PTuning(length=2, hidden=8, anchors=(None, 7, None), position=(1, 1, -1))
    model = how.attach(tiny("bert"))
    perturb(model)
    pft.save(model, tmp_path)
    assert "prompt_embeddings" not in load_file(tmp_path / TENSORS)
    again = pft.load(tiny("bert"), tmp_path)
    assert pft.attached(again)["p_tuning"] == how
    assert torch.equal(checks.logits(again, batch("bert")), checks.logits(model, batch("bert")))
