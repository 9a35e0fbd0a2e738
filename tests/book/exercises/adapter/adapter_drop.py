"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

R = (
    "def run(h, W, A, n):\n    b = lambda h: torch.tanh(h @ W[i])\n    a = lambda h: h @ A[i]\n"
    "    for i in range(len(W)):\n"
)
P = "def present(layer, highest):\n    return "
H = (
    "def how_many(apart, allowed):\n"
    "    def half(values):\n"
    "        mean = sum(values) / 5\n"
    "        squares = sum((v - mean) ** 2 for v in values)\n"
    "        return 2.776 * (squares / 4) ** 0.5 / 5 ** 0.5\n"
)
FINE = "    fine = [sum(v) / 5 - half(v) >= -allowed for v in apart]\n"

ANSWERS = {
    "adapter.adapter_drop.1": (
        "counts = (104, 27.8, 1.2)",
        {
            "counts = (96, 27.8, 1.2)": "somebody must compute",
            "counts = (144, 27.8, 1.2)": "one by one",
            "counts = (64, 27.8, 1.2)": "lowest ones are shared",
            "counts = (7, 27.8, 1.2)": "once a task",
            "counts = (104, 72.2, 1.2)": "what is left",
            "counts = (104, 38.5, 1.2)": "gain in speed",
            "counts = (104, 0.278, 1.2)": "not a share",
            "counts = (104, 33.3, 1.2)": "endless",
            "counts = (104, 7, 1.2)": "of the layers",
            "counts = (104, 27.8, 0.833)": "that is left",
            "counts = (104, 27.8, 1.5)": "still whole",
            "counts = (104, 27.8, 1.8)": "not full",
            "counts = (104, 27.8, 0.1667)": "time saved",
            "counts = (104, 27.8, 7)": "in layers",
        },
    ),
    "adapter.adapter_drop.2": (
        R + "        h = b(h)\n        h = h + a(h) if i >= n else h\n    return h.clone()",
        {
            R + "        h = b(h)\n        h = h + a(h) if i > n else h\n    return h":
                "Layer n itself",
            R + "        h = b(h)\n        h = h + a(h) if i < n else h\n    return h":
                "kept the lower",
            R + "        h = b(h)\n        h = a(h) if i >= n else h\n    return h": "adds to",
            R + "        h = h + a(h) if i >= n else h\n        h = b(h)\n    return h":
                "behind its block",
            R + "        h = b(h)\n        h = h + a(h)\n    return h": "Nothing was dropped",
            R + "        h = b(h) if i >= n else h\n        h = h + a(h) if i >= n else h\n"
                "    return h": "the blocks stay",
            R + "        h = b(h)\n        h = h + 2 * a(h) if i >= n else h\n    return h":
                "layer by layer",
        },
    ),
    "adapter.adapter_drop.3": (
        P + "(min(layer, highest) + 1) / (highest + 1)",
        {
            P + "1 - (min(layer, highest) + 1) / (highest + 1)": "it is dropped",
            P + "layer / (highest + 1)": "still there",
            P + "(layer + 1) / highest": "highest + 1 numbers",
            P + "layer / highest": "highest + 1 numbers",
            P + "(layer + 1) / (highest + 1)": "never dropped",
            P + "0.123": "Count the n",
        },
    ),
    "adapter.adapter_drop.4": (
        H + FINE + "    return (fine + [False]).index(False)",
        {
            H + "    fine = [sum(v) / 5 >= -allowed for v in apart]\n"
                "    return (fine + [False]).index(False)": "wide interval",
            H + FINE + "    return max([i + 1 for i, f in enumerate(fine) if f], default=0)":
                "by luck",
            H + FINE + "    return max((fine + [False]).index(False) - 1, 0)": "of n = 1",
            H + FINE + "    return max((fine + [False]).index(False), 1)": "the answer is 0",
            H + "    return 9": "lower end",
        },
    ),
    "adapter.adapter_drop.5": (
        "causes = (2, 4, 1, 3)",
        {
            "causes = (3, 4, 1, 2)": "last digit",
            "causes = (2, 1, 4, 3)": "all the way down",
            "causes = (2, 4, 3, 1)": "in common",
            "causes = (2, 2, 1, 3)": "belongs to one run",
            "causes = (2, 4, 1)": "a, b, c, d",
        },
    ),
    "adapter.adapter_drop.6": (
        "printed = (0, 1, 0, 1)",
        {
            "printed = (1, 1, 0, 1)": "holds zero",
            "printed = (0, 0, 0, 1)": "one side of zero",
            "printed = (0, 1, 1, 1)": "compared with one another",
            "printed = (0, 1, 0, 0)": "leave open",
            "printed = (0, 2, 0, 1)": "1 or 0",
        },
    ),
}  # fmt: skip
