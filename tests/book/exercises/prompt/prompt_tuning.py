"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

P = "def prepend(P, X, mask):\n    both = P.expand(len(X), *P.shape)\n    ones = mask.new_ones(len(X), len(P))\n    "
VECTORS = "return torch.cat([both, X], 1), "
MASK = "torch.cat([ones, mask], 1)"
S = "def start(words, groups, length):\n    means = [words[list(ids)].mean(0) for ids in groups]\n    "
C = "def chances(logits, words):\n    picked = logits[:, words]\n    "

ANSWERS = {
    "prompt.prompt_tuning.1": (
        "trained = (204800, 409600)",
        {
            "trained = (4915200, 409600)": "once for all layers",
            "trained = (409600, 409600)": "encoder alone",
            "trained = (2148, 409600)": "model's width",
            "trained = (1, 409600)": "vectors times width",
            "trained = (204800, 204800)": "each of the two stacks",
            "trained = (204800, 9830400)": "not all of their layers",
            "trained = (204800, 1)": "for encoder and decoder",
        },
    ),
    "prompt.prompt_tuning.2": (
        "times = (3, 9)",
        {
            "times = (2, 9)": "words themselves pass",
            "times = (1, 9)": "as words do",
            "times = (1 / 3, 9)": "with the prompt over",
            "times = (7, 9)": "relative to the words",
            "times = (3, 3)": "longer in one direction",
            "times = (3, 2)": "all vectors looks at each",
            "times = (3, 1)": "take part in attention",
            "times = (3, 7)": "the square of the length",
        },
    ),
    "prompt.prompt_tuning.3": (
        P + VECTORS + MASK,
        {
            P + "return torch.cat([X, both], 1), " + MASK: "in front of the words",
            P + "return torch.cat([both.flip(1), X], 1), " + MASK: "keep their order",
            P
            + "return torch.cat([both, X * mask[..., None]], 1), "
            + MASK: "Leave the words alone",
            P + "return torch.cat([both + 1, X], 1), " + MASK: "the same prompt",
            P + VECTORS + "mask": "cover the prompt too",
            P + VECTORS + "torch.cat([0 * ones, mask], 1)": "masked out does nothing",
            P + VECTORS + "torch.cat([mask, ones], 1)": "in another order",
            P + VECTORS + "0 * torch.cat([ones, mask], 1) + 1": "Padding stays hidden",
            P + VECTORS + "2 * torch.cat([ones, mask], 1)": "Ones for the prompt",
        },
    ),
    "prompt.prompt_tuning.4": (
        S + "return torch.stack([means[i % len(means)] for i in range(length)])",
        {
            S + "return torch.stack(means)": "begin anew with the first",
            S
            + "means = [words[list(ids)].sum(0) for ids in groups]\n    "
            + "return torch.stack([means[i % 2] for i in range(length)])": "not a sum",
            S
            + "return torch.stack([words[groups[i % 2][0]] for i in range(length)])": "more than its",
            S + "return torch.stack([means[2 * i // length] for i in range(length)])": "In turn",
            S + "return torch.stack([means[(i + 1) % 2] for i in range(length)])": "Begin with",
            S
            + "ids = [i for group in groups for i in group]\n    "
            + "return torch.stack([words[ids[i % 3]] for i in range(length)])": "one vector, not",
            S + "return 2 * torch.stack([means[i % 2] for i in range(length)])": "mean embedding",
        },
    ),
    "prompt.prompt_tuning.5": (
        C + "return picked.softmax(1)",
        {
            C + "return picked": "Those are the logits",
            C + "return logits.softmax(1)[:, words]": "do not add up to 1",
            C + "return picked.log_softmax(1)": "logarithms",
            C + "return logits[:, sorted(words)].softmax(1)": "not of the token ids",
            C + "return picked.softmax(0)": "not over the texts",
            C + "return picked.argmax(1)": "not the class alone",
            C + "return picked.softmax(1) / 2": "words of the classes alone",
        },
    ),
    "prompt.prompt_tuning.6": (
        "cause = (2, 4, 1, 3)",
        {
            "cause = (4, 2, 1, 3)": "(a) Nothing moves",
            "cause = (2, 1, 4, 3)": "(b) The settings",
            "cause = (2, 4, 3, 1)": "(c) Training was right",
            "cause = (2, 4, 1, 1)": "Each cause belongs",
            "cause = (2, 4, 1)": "Give 4 numbers",
        },
    ),
    "prompt.prompt_tuning.7": (
        "printed = (0, 1, 0, 1)",
        {
            "printed = (1, 1, 0, 1)": "(i) The mean",
            "printed = (0, 0, 0, 1)": "(ii) Compare",
            "printed = (0, 1, 1, 1)": "(iii) What would",
            "printed = (0, 1, 0, 0)": "(iv) The differences",
            "printed = (0, 2, 0, 1)": "Give 1 or 0",
        },
    ),
}
