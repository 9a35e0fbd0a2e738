"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

B = "import math\ndef bits_per_byte(documents):\n    "
SUMS = "bits = sum(loss * tokens for loss, tokens, text in documents) / math.log(2)\n    size = sum(len(text.encode()) for loss, tokens, text in documents)\n    "
EACH = "each = [loss * tokens / math.log(2) / len(text.encode()) for loss, tokens, text in documents]\n    "
G = "def make_gaps(ids, chosen, fate, other, mask):\n    gone = torch.where(fate < 0.8, mask, torch.where(fate < 0.9, other, ids))\n    gaps, asked = torch.where(chosen, gone, ids), torch.where(chosen, ids, -100)\n    "


def gaps(inputs="gaps", labels="asked"):
    return f"{G}return {inputs}, {labels}"


def chosen(fate):
    return gaps(f"torch.where(chosen, {fate}, ids)")


def worth(
    seeds="[run for run in mine if run['seed'] == 0]",
    key="validation",
    points="mean(test[True]) - mean(test[False])",
    rates="rate[True], rate[False]",
    best="max",
    tested="rate[kind]",
    split="test",
):
    return f"""def mean(values):
    return sum(values) / len(values)

def worth(runs):
    rate, test = {{}}, {{}}
    for kind in (True, False):
        mine = [run for run in runs if run['pretrained'] == kind]
        rate[kind] = {best}({seeds}, key=lambda run: run['{key}'])['rate']
        there = [run for run in mine if run['rate'] == {tested}]
        test[kind] = [run['{split}'] for run in sorted(there, key=lambda run: run['seed'])]
    return {rates}, {points}"""


ANSWERS = {
    "foundations.base_models.1": (
        "share = (0.554, 0.823)",
        {
            "share = (1048576 / (1891456 - 1048576), 0.823)": "not of what is left",
            "share = (2 * 1048576 / 1891456, 0.823)": "that of a mini 256",
            "share = (8192 / 1891456, 0.823)": "each of the 128 dimensions",
            "share = (55.4, 0.823)": "not per cent",
            "share = (0.5, 0.823)": "tokens times width",
            "share = (0.554, 30522 * 128 / 1891456)": "the model is larger, too",
            "share = (0.554, 30522 * 128 / (1891456 + 30522 * 128))": "in place of the old",
            "share = (0.554, 30522 * 128 / (1891456 - 1048576))": "holds the new table as well",
            "share = (0.554, 1 - 0.78)": "share of the old table in the new",
            "share = (0.554, 0.9)": "take the old table away",
            "share = 0.554": "Give 2 numbers",
        },
    ),
    "foundations.base_models.2": (
        "bits_per_byte = (1.35, 1.21)",
        {
            "bits_per_byte = (3.33 / 0.6931, 1.21)": "mini-decoder: bits, but those of a token",
            "bits_per_byte = (3.33 * 67 / 238.1, 1.21)": "mini-decoder: these are nats",
            "bits_per_byte = (3.33 * 67 / 238.1 * 0.6931, 1.21)": "mini-decoder: a nat is more",
            "bits_per_byte = (3.33 * 67 / 238.1 / 2.3026, 1.21)": "mini-decoder: a bit belongs",
            "bits_per_byte = (3.33 / 0.6931 * 238.1 / 67, 1.21)": "mini-decoder: a token has several",
            "bits_per_byte = (1, 1.21)": "mini-decoder: all bits of the text",
            "bits_per_byte = (1.35, 4 / 0.6931)": "The other: bits, but those of a token",
            "bits_per_byte = (1.35, 4 * 67 / 238.1 / 0.6931)": "it has 50 million tokens",
            "bits_per_byte = (1.35, 4 * 50 / 238.1)": "The other: these are nats",
            "bits_per_byte = (1.35, 1)": "The other: all bits of the text",
            "bits_per_byte = 1.35": "Give 2 numbers",
        },
    ),
    "foundations.base_models.3": (
        B + SUMS + "return bits / size",
        {
            B + SUMS + "bits / size": "should be one number",
            B + SUMS + "return bits * math.log(2) / size": "That is in nats",
            B + SUMS + "return bits * math.log(2) ** 2 / size": "the other way round",
            B + SUMS + "return bits * math.log(2) / math.log(10) / size": "Base 10",
            B + SUMS + "return bits / sum(n for _, n, _ in documents)": "bits per token",
            B
            + SUMS
            + "return sum(loss for loss, _, _ in documents) / math.log(2) / size": "the text has many",
            B
            + SUMS
            + "return sum(loss for loss, _, _ in documents) / math.log(2) * size / sum(n for _, n, _ in documents)": "are exchanged",
            B + SUMS + "return bits": "the bits of the whole text",
            B + SUMS + "return 8 / bits": "One text of plain letters",
            B
            + SUMS
            + "return bits / sum(len(text) for _, _, text in documents)": "counted characters",
            B
            + SUMS
            + "return bits / sum(len(text.encode('ascii', 'ignore')) for _, _, text in documents)": "One text with other letters",
            B + EACH + "return each[0]": "Only the first document",
            B + EACH + "return each[-1]": "Only the last document",
            B + EACH + "return sum(each) / len(each)": "a short one counts like a long one",
            B + EACH + "return sum(each)": "not to be added up",
            B
            + SUMS
            + "return sum(loss for loss, _, _ in documents) / len(documents) * sum(n for _, n, _ in documents) / math.log(2) / size": "weigh as much as",
            B + EACH + "return math.prod(each) ** (1 / len(each))": "Several documents",
        },
    ),
    "foundations.base_models.4": (
        gaps(),
        {
            f"{G}return gaps": "Return two things",
            f"{G}gaps, asked": "(inputs, labels)",
            f"{G}ids[chosen] = mask\n    return ids, asked": "in place",
            gaps("gaps[chosen]"): "it should be (6, 20)",
            gaps("gaps.float()"): "inputs are ids",
            gaps(labels="chosen"): "labels are ids",
            f"{G}return asked, gaps": "no token has this id",
            gaps("gone"): "changes others as well",
            gaps("torch.where(chosen, ids, gone)"): "exactly what was not chosen",
            gaps("torch.where(chosen, gone, 0)"): "come out as it went in",
            gaps("ids"): "Nothing is hidden",
            chosen("mask"): "All of the chosen are masked",
            chosen("torch.where(fate < 0.8, mask, other)"): "None of the chosen stays",
            chosen("torch.where(fate < 0.8, mask, ids)"): "becomes another token",
            chosen("torch.where(fate < 0.9, mask, ids)"): "is replaced by `other`",
            chosen("torch.where(fate < 0.9, other, ids)"): "second rule undid the first",
            chosen(
                "torch.where(fate < 0.8, mask, torch.where(fate < 0.9, ids, other))"
            ): "Who stays and who becomes",
            chosen(
                "torch.where(fate >= 0.2, mask, torch.where(fate >= 0.1, other, ids))"
            ): "wrong end of `fate`",
            chosen("other"): "three fates, parted",
            gaps(labels="ids"): "Labels everywhere",
            gaps(labels="torch.where(chosen, gaps, -100)"): "what stands in the inputs",
            gaps(labels="torch.where(chosen, -100, ids)"): "those of the places not chosen",
            gaps(labels="torch.where(chosen, ids, 0)"): "A label of 0 is a token",
            gaps(labels="torch.where(gaps == mask, ids, -100)"): "Not only the masked",
            gaps(labels="torch.where(gaps != ids, ids, -100)"): "Those that stay are asked",
            gaps(labels="torch.full_like(ids, -100)"): "Labels: the original token",
        },
    ),
    "foundations.base_models.5": (
        worth(),
        {
            worth(rates="rate[True]"): "Give 3 numbers",
            worth(rates="rate[False], rate[True]"): "two rates are exchanged",
            worth(key="test"): "The test split chose",
            worth(seeds="mine"): "searched with seed 0 alone",
            worth(best="min"): "worst rates",
            worth(rates="rate[True], rate[True]"): "One rate for both",
            worth(rates="rate[True], 0.5 * rate[False]"): "which validates best",
            worth(points="mean(test[False]) - mean(test[True])"): "pretrained minus random",
            worth(points="(mean(test[True]) - mean(test[False])) / 100"): "In points",
            worth(points="sum(test[True]) - sum(test[False])"): "the sum over the seeds",
            worth(points="test[True][0] - test[False][0]"): "Seed 0 alone: the comparison",
            worth(split="validation"): "points of the validation split",
            worth(tested="run['rate']"): "over all rates",
            worth(tested="rate[True]"): "tested at the same rate",
            worth(points="max(test[True]) - max(test[False])"): "The best seed of each",
            worth(points="mean(test[True])"): "mean test accuracy of each at its own",
        },
    ),
}
