"""Exercises of the chapter book/prompt/index.ipynb. One attention head, as everywhere there."""

from typing import Any

import torch
from torch import Tensor

from ..compare import close, compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _sizes(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        name = ("Prompt tuning", "Prefix tuning")[which]
        given = numbers(answer, ("prompt", "prefix"))[which]
        prompt = torch.empty(20, 1024, device="meta").numel()
        prefix = torch.empty(24, 2, 20, 1024, device="meta").numel()
        mistakes = [
            (prefix // 2, f"{name}: keys *and* values."),
            (prefix // 24, f"{name}: every layer has its own."),
        ]
        if which == 0:
            mistakes = [
                (prompt * 24, f"{name}: the vectors stand at the embedding, once for all layers."),
                (prompt * 2, f"{name}: it is embedded text, there are no keys and values in it."),
            ]
        right = prefix if which else prompt
        measure(given, right, mistakes, f"{name}: how many vectors of width 1024 are trained?")

    return test


def _costs(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("prompt", "prefix"))[which]
        scores = torch.empty(100, 100, device="meta").numel()
        longer = torch.empty(120, 120, device="meta").numel() / scores
        wider = torch.empty(100, 120, device="meta").numel() / scores
        if which == 0:
            measure(
                given,
                longer,
                [
                    (wider, "Prompt tuning: the prompt's vectors also ask, they are like words."),
                    (1.0, "Prompt tuning: the vectors take part in attention."),
                ],
                "Prompt tuning: 120 vectors, each looks at each.",
                within=1e-3,
            )
        else:
            measure(given, wider, [
                (longer, "Prefix tuning: trained keys and values are looked at, and do not ask."),
                (1.0, "Prefix tuning: there are more keys than without."),
            ], "Prefix tuning: 100 queries look at 120 keys.", within=1e-3)  # fmt: skip

    return test


def _attention(q: Tensor, K: Tensor, V: Tensor, visible: Tensor) -> Tensor:
    scores = torch.einsum("qd,kd->qk", q, K) / q.shape[-1] ** 0.5
    return torch.where(visible, scores, -torch.inf).softmax(-1) @ V


def _heads(g: Any) -> tuple[Tensor, ...]:
    return tuple(normal(g, n, 4) for n in (5, 5, 5, 3, 3))


def _prefix_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_heads(g), torch.ones(5, dtype=torch.bool)), (5, 4), "The output")


def _prefix_open(answer: Any, g: Any) -> None:
    q, K, V, PK, PV = _heads(g)
    seen = torch.ones(5, dtype=torch.bool)
    keys, values = torch.cat([PK, K]), torch.cat([PV, V])
    everything = torch.ones(1, 8, dtype=torch.bool)
    plain = _attention(q, K, V, seen)
    unscaled = torch.einsum("qd,kd->qk", q, keys).softmax(-1) @ values
    across = (torch.einsum("qd,kd->qk", q, keys) / 2).softmax(0) @ values
    compare(
        answer(q, K, V, PK, PV, seen),
        _attention(q, keys, values, everything),
        [
            (plain, "The prefix has no effect, although every word is visible. Where is it lost?"),
            (unscaled, "The scores are divided by √d before the softmax."),
            (across, "The softmax runs over the keys, the last dimension."),
            (plain + _attention(q, PK, PV, everything[:, :3]),
             "Two softmaxes were added. The prefix competes with the words in one."),
            (_attention(q, torch.cat([PV, K]), torch.cat([PK, V]), everything),
             "Keys and values of the prefix are exchanged."),
        ],
        "With all words visible it should be attention over prefix and words together.",
    )  # fmt: skip


def _prefix_masked(answer: Any, g: Any) -> None:
    q, K, V, PK, PV = _heads(g)
    seen = torch.tensor([True, True, True, False, False])
    keys, values = torch.cat([PK, K]), torch.cat([PV, V])

    def with_mask(*mask: bool) -> Tensor:
        return _attention(q, keys, values, torch.tensor(mask))

    compare(
        answer(q, K, V, PK, PV, seen),
        with_mask(*[True] * 6, False, False),
        [
            (with_mask(*[True] * 8), "Padding is looked at: the mask has no effect."),
            (with_mask(*[False] * 3, *seen.tolist()),
             "The prefix is masked out: it does nothing, and nobody would notice but for this."),
            (with_mask(*seen.tolist(), True, True, True),
             "The mask was extended at the wrong end: it hides words and shows padding."),
            (with_mask(*[True] * 3, *(~seen).tolist()), "True means visible; yours is inverted."),
        ],
        "The prefix is always visible, and of the words those where the mask is True.",
    )  # fmt: skip


PADDING = ((True, True, True, True), (False, False, True, True))


def _mask_shape(answer: Any, g: Any) -> None:
    given = answer(torch.tensor(PADDING), 2)
    if isinstance(given, Tensor) and tuple(given.shape) == (2, 6, 6):
        raise Wrong("The prefix asks nothing: queries are the 4 words, keys all 6.")
    if tensor(given, (2, 4, 6), "The mask").dtype != torch.bool:
        raise Wrong("The mask should hold True and False.")


def _mask_prefix(answer: Any, g: Any) -> None:
    shown = answer(torch.tensor(PADDING), 2)[:, :, :2]
    if not shown.any():
        raise Wrong("No word sees the prefix: it would do nothing at all.")
    if not shown.all():
        raise Wrong("Some words see only a part of the prefix: it stands before the first word.")


def _mask_text(answer: Any, g: Any) -> None:
    words = torch.tensor(PADDING)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    given = answer(words, 2)[:, :, 2:]
    compare(
        given,
        causal & words[:, None, :],
        [
            (words[:, None, :].expand(2, 4, 4), "A word sees those behind it: that is no decoder."),
            (causal.expand(2, 4, 4), "Padding is seen."),
            (causal & words[:, :, None], "Padding was hidden as a query; as a key it matters."),
            (causal.T & words[:, None, :], "A word sees what comes after it, not what was before."),
            (torch.ones(4, 4, dtype=torch.bool).tril(-1) & words[:, None, :],
             "A word does not see itself."),
            (torch.ones(4, 4, dtype=torch.bool).tril(2) & words[:, None, :],
             "The triangle is shifted by the length of the prefix: words see ahead."),
        ],
        "A word sees itself and the words before it that are no padding.",
    )  # fmt: skip


def _gate_shape(answer: Any, g: Any) -> None:
    q, K, _, PK, _ = _heads(g)
    given = tensor(answer(q, K, PK), (5,), "The gate")
    if (given < 0).any() or (given > 1).any():
        raise Wrong("The gate is a share, between 0 and 1.")


def _gate_value(answer: Any, g: Any) -> None:
    q, K, V, PK, PV = _heads(g)
    gate = answer(q, K, PK)
    every = torch.ones(1, 8, dtype=torch.bool)
    both = _attention(q, torch.cat([PK, K]), torch.cat([PV, V]), every)
    text, prefix = _attention(q, K, V, every[:, :5]), _attention(q, PK, PV, every[:, :3])

    def mixes(share: Tensor) -> bool:
        return close((1 - share)[:, None] * text + share[:, None] * prefix, both)

    if mixes(gate):
        return
    if mixes(1 - gate):
        raise Wrong("That is the share of the words; the gate is that of the prefix.")
    if mixes(gate / (1 + gate)):
        raise Wrong("That is prefix to words; the share is prefix to both together.")
    scores = torch.einsum("qd,kd->qk", q, torch.cat([PK, K]))
    if close(gate, scores.softmax(-1)[:, :3].sum(-1)):
        raise Wrong("The scores are divided by √d here as in attention.")
    if close(gate, torch.full_like(gate, 3 / 8)):
        raise Wrong("The gate is the same for all queries. It depends on how well the keys match.")
    if close(gate, (scores / 2).softmax(-1)[:, :3].mean(-1)):
        raise Wrong("Add up the weights of the prefix; you averaged them.")
    raise Wrong("(1 − gate) · attention to the words + gate · attention to the prefix should be "
                "attention to both.")  # fmt: skip


def _gate_large(answer: Any, g: Any) -> None:
    q, K, _, PK, _ = _heads(g)
    given = answer(300 * q, 10 * K, 10 * PK)
    if not torch.isfinite(given).all():
        raise Wrong("Large scores give nan: exp overflows. Let softmax or logsumexp do the sums.")


def _name(number: int) -> str:
    return f"prompt.index.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count the vectors", "short", 5, 1,
        "A model has 24 layers of width 1024. How many parameters has (i) prompt tuning and (ii) "
        "prefix tuning, both of length 20, without a network that makes the vectors?",
        "trained = (..., ...)\n",
        ("Where do the vectors stand, and how often?",
         "Prefix tuning has keys and values in each layer."),
        (Stage("prompt tuning", 1, _sizes(0)), Stage("prefix tuning", 1, _sizes(1))),
    ),
    Exercise(
        _name(2), "What twenty vectors cost", "short", 5, 1,
        "A text has 100 words and the trained part 20 vectors. How many times as many attention "
        "scores does an encoder layer compute as without them: (i) prompt tuning, (ii) prefix "
        "tuning?",
        "times = (..., ...)\n",
        ("Scores are queries times keys.", "Which vectors ask, and which are only looked at?"),
        (Stage("prompt tuning", 1, _costs(0)), Stage("prefix tuning", 1, _costs(1))),
    ),
    Exercise(
        _name(3), "Attention with a prefix", "code", 15, 1,
        "Write one head. `q`, `K`, `V` (t, d) come from the text, `PK` and `PV` (p, d) are "
        "trained; `visible` (t,) is False at padding. Return $\\mathrm{Attn}(q, [PK; K], "
        "[PV; V])$, (t, d), with scores divided by $\\sqrt d$.",
        "def prefix_attention(q, K, V, PK, PV, visible):\n    raise NotImplementedError\n",
        ("`torch.cat` along the keys.", "How long must the mask be, and what stands in front?"),
        (
            Stage("the shape is right", 1, _prefix_shape),
            Stage("prefix and words compete", 1, _prefix_open),
            Stage("padding is hidden and the prefix is not", 2, _prefix_masked),
        ),
    ),
    Exercise(
        _name(4), "The mask of a decoder", "code", 20, 2,
        "A prefix that is masked out does nothing, and no error tells. Make the mask of a "
        "decoder: `words` (b, t) is False at padding, which may stand on the left; `length` is "
        "that of the prefix. Return (b, t, length + t), True where a word may look.",
        "def decoder_mask(words, length):\n    raise NotImplementedError\n",
        ("Three parts: the prefix, the triangle, the padding.",
         "`torch.ones(t, t).tril()` is the triangle of the words alone."),
        (
            Stage("the shape is right", 1, _mask_shape),
            Stage("every word sees the whole prefix", 1, _mask_prefix),
            Stage("words see the words before them", 2, _mask_text),
        ),
    ),
    Exercise(
        _name(5), "A prefix is a gate", "code", 25, 3,
        "Attention over prefix and words is a mixture of two: $(1 - \\lambda)\\, "
        "\\mathrm{Attn}(q, K, V) + \\lambda\\, \\mathrm{Attn}(q, PK, PV)$, one $\\lambda$ for each "
        "query {cite:p}`he2022towards`. Return it, (t,), from `q` (t, d), `K` (t, d) and `PK` "
        "(p, d). It must survive large scores.",
        "def gate(q, K, PK):\n    raise NotImplementedError\n",
        ("How much of the softmax over all keys falls on the prefix?",
         "`torch.logsumexp` and `torch.sigmoid`, or one softmax over both."),
        (
            Stage("one share for each query", 1, _gate_shape),
            Stage("the mixture is the attention", 2, _gate_value),
            Stage("large scores do no harm", 1, _gate_large),
        ),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Prompt tuning of length 20 takes from a model that reads 512 tokens",
        (
            Option("nothing: the vectors are not words",
                   "They stand in front of the text and take positions as words do."),
            Option("20 positions of the text", "492 are left for words.", right=True),
            Option("20 positions in each layer", "The sequence is longer by 20, once."),
        ),
    ),
    Question(
        "Why do many implementations train a prefix through a small network?",
        (
            Option("The network stays and makes the prefix depend on the text",
                   "It has no input but the prefix itself, and is thrown away after training."),
            Option("Training the vectors directly was found to be less stable",
                   "After training, only the vectors that it makes are kept. The authors of "
                   "P-tuning v2 find that the network helps on some tasks and harms on others.",
                   right=True),
            Option("To have fewer parameters to train",
                   "It has more; they are needed in training only."),
        ),
    ),
    Question(
        "A prefix has no effect at all on the outputs. Look first at",
        (
            Option("the learning rate", "Even an untrained random prefix changes the outputs."),
            Option("the attention mask", "If the mask hides it, nothing else matters.", right=True),
            Option("the length of the prefix", "A single visible vector has an effect."),
        ),
    ),
    Question(
        "Deep prompts (a prefix in each layer) and a prompt at the embedding differ: only",
        (
            Option("the first can be merged into the weights",
                   "Neither can: keys that are looked at are no change of a matrix."),
            Option("the first reaches every layer directly",
                   "The prompt at the embedding is transformed by the layers on its way.",
                   right=True),
            Option("the second needs a gradient through all layers",
                   "Both have trained vectors at the bottom."),
        ),
    ),
    Question(
        "Prompts at random start far from any word. A common cure is to start from",
        (
            Option("zero vectors",
                   "Only their positions would tell them apart at first, and a vector of zeros is "
                   "no word that the model knows."),
            Option("the embeddings of words", "The model knows its way there.", right=True),
            Option("the mean of all positions",
                   "Positions are added later; they are not what the prompt stands for."),
        ),
    ),
)  # fmt: skip
