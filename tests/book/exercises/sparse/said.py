"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

D = """import math

def d90(dimensions, scores, full):
    wanted = 0.9 * full
    for i, score in enumerate(scores):
        if score >= wanted:
            if i == 0:
                return dimensions[0]
            a, b = math.log10(dimensions[i - 1]), math.log10(dimensions[i])
            way = (wanted - scores[i - 1]) / (score - scores[i - 1])
            return {}
    return None"""
RIGHT = D.format("10 ** (a + way * (b - a))")
LAST = """import math

def d90(dimensions, scores, full):
    below = [i for i, score in enumerate(scores) if score < 0.9 * full]
    if not below:
        return dimensions[0]
    i = below[-1]
    if i + 1 == len(scores):
        return None
    a, b = math.log10(dimensions[i]), math.log10(dimensions[i + 1])
    way = (0.9 * full - scores[i]) / (scores[i + 1] - scores[i])
    return 10 ** (a + way * (b - a))"""

S = """def descend(start, directions, X, y, steps, lr):
    z = torch.zeros(directions.shape[1], dtype=start.dtype)
    for _ in range({steps}):
        theta = {at}
        slope = X.T @ (X @ theta - y)
        z = z - lr * ({back})
    return {out}"""
PARTS = {
    "steps": "steps",
    "at": "start + directions @ z",
    "back": "directions.T @ slope",
    "out": "start + directions @ z",
}


def descent(**other: str) -> str:
    return S.format(**(PARTS | other))


FREE = """def descend(start, directions, X, y, steps, lr):
    for _ in range(steps):
        start = start - lr * X.T @ (X @ start - y)
    return start"""

G = """def gradients(slopes, projections, z, scales):
    each = [p.T @ s for p, s in zip(projections, slopes)]
    parts = torch.stack(each) * scales[:, None]
    own = torch.stack([(p @ z) @ s for p, s in zip(projections, slopes)])
    return {}, {}"""

ANSWERS = {
    "sparse.said.1": (
        "held = (6000, 50.331648)",
        {
            "held = (1500, 50.331648)": "four bytes for each entry",
            "held = (6e9, 50.331648)": "Dense: that is in bytes",
            "held = (8388.608, 50.331648)": "no need of a power of two",
            "held = (12, 50.331648)": "a column for each direction",
            "held = (6000, 36)": "next power of two",
            "held = (6000, 16.777216)": "signs, order and normal numbers",
            "held = (6000, 25.165824)": "lies below",
            "held = (6000, 50331648)": "vectors: that is in bytes",
            "held = (6000, 6)": "four bytes each",
        },
    ),
    "sparse.said.2": (
        "left = (288, 103)",
        {
            "left = (300, 103)": "among the 300",
            "left = (287, 103)": "outside the layers has no scale",
            "left = (12, 103)": "By layer: those are the scales",
            "left = (1, 103)": "less a scale for each layer",
            "left = (288, 108)": "five tensors",
            "left = (288, 197)": "By tensor: those are the scales",
            "left = (288, 279)": "every layer has 16",
            "left = (288, 5)": "for each tensor of the model",
        },
    ),
    "sparse.said.3": (
        RIGHT,
        {
            D.format("dimensions[i]"): "go between the two",
            D.format("dimensions[i - 1]"): "does not reach it",
            D.format("dimensions[i - 1] + way * (dimensions[i] - dimensions[i - 1])"):
                "not in $d$",
            D.format("a + way * (b - a)"): "not its logarithm",
            RIGHT.replace("0.9 * full", "0.9"): "Two of these",
            RIGHT.replace("0.9 * full", "0.95 * full"): "Find the two dimensions",
            RIGHT.replace("if i == 0:", "if i == -1:"): "smallest dimension",
            RIGHT.replace("return None", "return dimensions[-1]"): "no number to return",
            LAST: "fall back",
        },
    ),
    "sparse.said.4": (
        descent(),
        {
            FREE: "leave the subspace",
            descent(out="z"): "not the few numbers",
            descent(out="directions @ z"): "change alone",
            descent(at="start"): "step at hand",
            descent(steps="1"): "not the first alone",
            descent(back="slope[: len(z)]"): "from it the gradient of z",
            descent(back="-directions.T @ slope"): "not along it",
        },
    ),
    "sparse.said.5": (
        G.format("parts.sum(0)", "own"),
        {
            G.format("torch.stack(each).sum(0)", "own"): "scale as a factor",
            G.format("parts.mean(0)", "own"): "not averaged",
            G.format("parts[0]", "own"): "all have a part",
            G.format("-parts.sum(0)", "own"): "sum over the tensors",
            G.format("parts.sum(0)", "own * scales"): "falls out",
            G.format("parts.sum(0)", "own.sum().expand(len(scales))"): "not that of all",
            G.format("parts.sum(0)", "-own"): "what the projection made of z",
        },
    ),
    "sparse.said.6": (
        "causes = (3, 2, 4, 1)",
        {
            "causes = (3, 2, 4, 4)": "in some order",
            "causes = (1, 2, 4, 3)": "besides the d numbers",
            "causes = (3, 4, 2, 1)": "both factors are zero",
            "causes = (3, 2, 1, 4)": "how many seeds",
            "causes = (3, 2, 4)": "Give 4 numbers",
        },
    ),
    "sparse.said.7": (
        "printed = (1, 1, 0, 0)",
        {
            "printed = (0, 1, 0, 0)": "nine tenths of 80",
            "printed = (1, 0, 0, 0)": "nine tenths of 90",
            "printed = (1, 1, 1, 0)": "leave zero out",
            "printed = (1, 1, 0, 1)": "of which subspaces",
            "printed = (1, 1, 0, 2)": "1 or 0",
        },
    ),
}  # fmt: skip
