"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

PLACES = "def places(row):\n    "
READ = "def embedded(E, P, row):\n    words = [i for i in row if i is not None]\n    "
FROM = "return torch.stack([{} if i is None else E[i] for k, i in enumerate(row)])"
ENCODE = "def encode(P, W1, b1, W2, b2):\n    inner = P @ W1.T + b1\n    "

ANSWERS = {
    "prompt.p_tuning.1": (
        "count = (3154944, 6144)",
        {
            "count = (3148800, 6144)": "has an input",
            "count = (3151872, 6144)": "has a bias",
            "count = (1055744, 6144)": "one behind another",
            "count = (6144, 6144)": "the network is there as well",
            "count = (1, 6144)": "and three linear maps",
            "count = (3154944, 3154944)": "read in the end",
            "count = (3154944, 12288)": "without what went in",
            "count = (3154944, 6)": "as the model is wide",
            "count = (3154944, 1)": "vectors times width",
        },
    ),
    "prompt.p_tuning.2": (
        PLACES
        + 'return [sum(p != "[P]" for p in row[:i]) for i, q in enumerate(row) if q == "[P]"]',
        {
            PLACES + 'return [i for i, q in enumerate(row) if q == "[P]"]': "Count words alone",
            PLACES
            + 'return [sum(p != "[P]" for p in row[1:i]) for i, q in enumerate(row) if q == "[P]"]': "a word as well",
            PLACES
            + 'return [1 + sum(p != "[P]" for p in row[:i]) for i, q in enumerate(row) if q == "[P]"]': "up to the next",
            PLACES
            + 'return [sum(p != "[P]" for p in row[i:]) for i, q in enumerate(row) if q == "[P]"]': "from the front",
            PLACES
            + 'return [sum(p != "[P]" for p in row[:i]) for i, q in enumerate(row)]': "and the list has",
            PLACES + "return len(row)": "Return a list",
            PLACES + 'return [99 for q in row if q == "[P]"]': "are no [P]",
        },
    ),
    "prompt.p_tuning.3": (
        READ + "slots = iter(P)\n    " + FROM.format("next(slots)"),
        {
            READ + FROM.format("P[0]"): "of its own",
            READ + "return torch.cat([P, E[words]])": "and not in front",
            READ + FROM.format("0 * P[0]"): "no empty place",
            READ + FROM.format("P[min(k, 2)]"): "and not in pieces",
            READ + "slots = iter(P.flip(0))\n    " + FROM.format("next(slots)"): "last vector to",
            READ + "return E[words]": "it should be (6, 4)",
            READ + FROM.format("P[0] + 1"): "in their order",
        },
    ),
    "prompt.p_tuning.4": (
        ENCODE + "return inner.relu() @ W2.T + b2",
        {
            ENCODE + "return inner @ W2.T + b2": "two linear maps are one",
            ENCODE + "return (inner.relu() @ W2.T + b2).relu()": "behind the last map",
            ENCODE + "return (P @ W1.T).relu() @ W2.T": "biases are missing",
            ENCODE + "return inner.tanh() @ W2.T + b2": "non-linearity is the ReLU",
            ENCODE + "return P + inner.relu() @ W2.T + b2": "no skip",
            ENCODE + "return inner.relu()": "it should be (5, 4)",
            ENCODE + "return 2 * (inner.relu() @ W2.T + b2)": "for each row",
        },
    ),
    "prompt.p_tuning.5": (
        "reasons = (2, 4, 1, 3)",
        {
            "reasons = (1, 2, 3, 3)": "Each cause belongs to one run",
            "reasons = (4, 2, 1, 3)": "the loaded file hold",
            "reasons = (2, 1, 4, 3)": "the step made for",
            "reasons = (2, 4, 3, 1)": "at the place of the answer",
            "reasons = (2, 4, 1)": "Give 4 numbers",
        },
    ),
    "prompt.p_tuning.6": (
        "printed = (0, 1, 0, 1)",
        {
            "printed = (1, 1, 0, 1)": "does it hold zero",
            "printed = (0, 0, 0, 1)": "Which side of zero",
            "printed = (0, 1, 1, 1)": "Were other tasks",
            "printed = (0, 1, 0, 0)": "of these runs alone",
            "printed = (0, 2, 0, 1)": "Give 1 or 0",
        },
    ),
}
