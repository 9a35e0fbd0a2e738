"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

S = "def shared(a, b):\n    both = sum((x & y).sum().item() for x, y in zip(a, b))\n    return "
A = "sum(x.sum().item() for x in a)"
C = "def control(masks, scores):\n    out = []\n    for m, s in zip(masks, scores):\n"
C += "        new = torch.zeros(m.numel(), dtype=torch.bool)\n"
PLACES = "        new[{}.flatten().topk({}).indices] = True\n"
END = "        out.append(new.view_as(m))\n    return out"
RIGHT = C + PLACES.format("s", "int(m.sum())") + END
FLAT = """def control(masks, scores):
    flat = torch.cat([s.flatten() for s in scores])
    new = torch.zeros(len(flat), dtype=torch.bool)
    new[flat.topk(sum(int(m.sum()) for m in masks)).indices] = True
    return [p.view_as(m) for p, m in zip(new.split([m.numel() for m in masks]), masks)]"""

B = """def with_both(start, first, second):
    changed = start.clone()
    for places, values in (first, second):
        """
ALL = "\n    return changed"
MEET = """
    for i in set(first[0].tolist()) & set(second[0].tolist()):
        changed[i] = (changed[i] + start[i]) / 2"""

ANSWERS = {
    "sparse.masks.1": (
        "held = (800, 3.2)",
        {
            "held = (1.6, 3.2)": "whole matrices",
            "held = (200, 3.2)": "four bytes each",
            "held = (8e8, 3.2)": "Gradients: that is in bytes",
            "held = (7, 3.2)": "each weight of the base",
            "held = (800, 1600)": "chosen weights alone",
            "held = (800, 1.6)": "keeps two",
            "held = (800, 3.2e6)": "Moments: that is in bytes",
            "held = (800, 7)": "two numbers of four bytes",
        },
    ),
    "sparse.masks.2": (
        S + "both / " + A,
        {
            S + "both / sum(y.sum().item() for y in b)": "not by those of the second",
            S + "both / sum((x | y).sum().item() for x, y in zip(a, b))": "of either",
            "def shared(a, b):\n    return sum((x & y).sum().item() / max(1, x.sum().item())"
            " for x, y in zip(a, b) if x.any()) / sum(x.any().item() for x in a)":
                "mean over tensors",
            S + "both": "shares all of itself",
            S + "1.0": "nothing with its opposite",
            S + "min(1.0, 1.2 * both / " + A + ")": "over places of the first",
        },
    ),
    "sparse.masks.3": (
        RIGHT,
        {
            "def control(masks, scores):\n    return masks": "masks that were given",
            FLAT: "as its own mask has",
            C + PLACES.format("s", "int(m.sum()) // 2") + END: "in all",
            C + PLACES.format("(-s)", "int(m.sum())") + END: "lowest scores",
            C + PLACES.format("s.abs()", "int(m.sum())") + END: "its highest scores",
            "def control(masks, scores):\n    return masks[0]": "a mask for each tensor",
        },
    ),
    "sparse.masks.4": (
        B + "changed = changed.index_add(0, places, values)" + ALL,
        {
            B + "changed[places] = values" + ALL: "values are changes",
            B + "changed = start.index_add(0, *first)" + ALL: "Both differences",
            B + "changed = changed.index_add(0, places, values)" + ALL + " - start": "change alone",
            B + "changed[places] = start[places] + values" + ALL: "not the last alone",
            B + "changed = changed.index_add(0, places, values)" + MEET + ALL:
                "not averaged",
            B + "changed = changed + values.sum()" + ALL: "that belongs to it",
        },
    ),
    "sparse.masks.5": (
        "causes = (1, 3, 4, 2)",
        {
            "causes = (1, 1, 4, 2)": "in some order",
            "causes = (3, 1, 4, 2)": "gradient is zero",
            "causes = (1, 4, 3, 2)": "other tensors than those",
            "causes = (1, 3, 2, 4)": "scores taken",
            "causes = (1, 3, 4)": "Give 4 numbers",
        },
    ),
    "sparse.masks.6": (
        "printed = (1, 0, 1, 0)",
        {
            "printed = (0, 0, 1, 0)": "leaves zero out",
            "printed = (1, 1, 1, 0)": "no proof of zero",
            "printed = (1, 0, 0, 0)": "rate at the edge",
            "printed = (1, 0, 1, 1)": "difference of the two differences",
            "printed = (1, 0, 1, 2)": "1 or 0",
        },
    ),
}  # fmt: skip
