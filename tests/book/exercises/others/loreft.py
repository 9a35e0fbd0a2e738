"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

E = "def edit(h, R, W, b):\n    "
P = "def places(n, p, s):\n    "
D = "def erase(a, c):\n    R = (a / a.norm()).unsqueeze(0)\n    zero = torch.zeros_like(a[:1])\n    "
V = "def steering_vector(states, mask, labels):\n    last = states[torch.arange(len(states)), mask.sum(1) - 1]\n    "
HALVES = P + "if n < p + s:\n        p, s = min(p, n // 2), min(s, n - n // 2)\n    "

ANSWERS = {
    "others.loreft.1": (
        "counts = (786624, 98400)",
        {
            "counts = (393312, 98400)": "edits of their own",
            "counts = (32776, 98400)": "that is one layer",
            "counts = (16388, 98400)": "one edit of one layer",
            "counts = (786432, 98400)": "b is missing",
            "counts = (393408, 98400)": "both have d columns",
            "counts = (4719744, 98400)": "share their edit",
            "counts = (786624, 196704)": "nothing reads h",
            "counts = (786624, 8200)": "that is one layer",
            "counts = (786624, 98304)": "b is missing",
            "counts = (786624, 492000)": "five words share",
            "counts = (1, 98400)": "R, W and b",
            "counts = (786624, 1)": "what is left",
            "counts = 786624": "Give 2 numbers",
        },
    ),
    "others.loreft.2": (
        E + "return h + (h @ W.T + b - h @ R.T) @ R",
        {
            E + "return (h @ W.T + b - h @ R.T) @ R": "change alone",
            E + "return h + (h @ W.T + b) @ R": "that is DiReFT",
            E + "return h + (h @ W.T - h @ R.T) @ R": "b is missing",
            E + "return h + (h @ W.T + b + h @ R.T) @ R": "do not add it",
            E + "return h + (h @ W.T + b - h @ R.T) @ W": "not by W",
            E + "return h + (b - h @ R.T) @ R": "W h is missing",
            E + "return 2 * h": "outside it stays",
            E + "return h @ R.T": "has shape",
        },
    ),
    "others.loreft.3": (
        HALVES + "return [*range(p), *range(n - s, n)]",
        {
            P + "return [*range(p), *range(n - s, n)]": "is listed twice",
            P + "return [*range(-p, s)]": "outside the text",
            HALVES + "return [*range(1, p + 1), *range(n - s + 1, n + 1)]": "outside the text",
            HALVES + "return [*range(n - s, n), *range(p)]": "order of the text",
            HALVES + "return [*range(p)]": "first p and the last s",
            P
            + "return sorted({*range(min(p, n)), *range(max(0, n - s), n)})": "each side its half",
            HALVES + "return (*range(p), *range(n - s, n))": "Return a list",
        },
    ),
    "others.loreft.4": (
        D + "return R, (1 - c) * R, zero",
        {
            D + "return R, torch.zeros_like(R), zero": "The share is c",
            D + "return R, c * R, zero": "what *stays*",
            D + "return R, (1 + c) * R, zero": "The part grows",
            D + "return R, R, zero": "Nothing changes",
            D + "return R, -R, zero": "What should it become",
            D + "return a.unsqueeze(0), (1 - c) * R, zero": "length 1",
            D + "return (a / a.square().sum()).unsqueeze(0), (1 - c) * R, zero": "not its square",
            D + "return torch.ones_like(R), (1 - c) * R, zero": "direction of a",
            D + "return R, R": "three tensors",
        },
    ),
    "others.loreft.5": (
        V + "return last[labels == 1].mean(0) - last[labels == 0].mean(0)",
        {
            V + "return last[labels == 0].mean(0) - last[labels == 1].mean(0)": "the other way",
            V
            + "last = states[:, -1]\n    return last[labels == 1].mean(0) - last[labels == 0].mean(0)": "is padding",
            V
            + "last = states[:, 0]\n    return last[labels == 1].mean(0) - last[labels == 0].mean(0)": "first token",
            V
            + "m = mask.unsqueeze(2)\n    last = (states * m).sum(1) / m.sum(1)\n    return last[labels == 1].mean(0) - last[labels == 0].mean(0)": "over all tokens",
            V + "return last[labels == 1].sum(0) - last[labels == 0].sum(0)": "not sums",
            V + "return last[labels == 1].mean(0) + last[labels == 0].mean(0)": "The difference",
            V + "return last[0]": "last real token",
            V + "return last": "has shape",
        },
    ),
    "others.loreft.6": (
        "causes = (4, 1, 3, 2)",
        {
            "causes = (1, 4, 3, 2)": "(a) The edit",
            "causes = (4, 3, 1, 2)": "(b) With rows",
            "causes = (4, 1, 2, 3)": "(c) The text",
            "causes = (4, 1, 1, 2)": "one run",
            "causes = 4": "Give 4 numbers",
        },
    ),
    "others.loreft.7": (
        "printed = (1, 0, 0, 1)",
        {
            "printed = (0, 0, 0, 1)": "(i) Does",
            "printed = (1, 1, 0, 1)": "(ii) An interval",
            "printed = (1, 0, 1, 1)": "(iii) Two means",
            "printed = (1, 0, 0, 0)": "(iv) Which",
            "printed = (1, 0, 0, 2)": "Give 1 or 0",
        },
    ),
}
