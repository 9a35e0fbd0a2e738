"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

K = "def kept(layers, d, d_head, n, dropout):\n    "
D = "def distance(layers, kappa):\n    every = [k for k in range(1, layers + 1) if layers % k == 0]\n    "
M = "def moved(weights, step):\n    w = weights.bfloat16()\n    "
P = "def peak(base, kept, gradients):\n    "
WALK = (
    "held = most = base + sum(kept)\n    for k, new in zip(kept[::-1], gradients[::-1]):\n        "
)

ANSWERS = {
    "foundations.bill.1": (
        "gigabytes = (16 * 1.3, 2 * 1.3 + 16 * 0.005)",
        {
            "gigabytes = (5.2, 2.68)": "what more",
            "gigabytes = (12 * 1.3, 2.68)": "copy in 32 bits is missing",
            "gigabytes = (8 * 1.3, 2.68)": "would be lost",
            "gigabytes = (20.8e9, 2.68)": "of 10⁹ bytes",
            "gigabytes = (1, 2.68)": "Full: Equation 3",
            "gigabytes = (20.8, 0.08)": "held as well",
            "gigabytes = (20.8, 5.28)": "needs no copy",
            "gigabytes = (20.8, 2.62)": "with all that this takes",
            "gigabytes = (20.8, 2.6)": "what it trains?",
            "gigabytes = (20.8, 20.8)": "two bytes for what is frozen",
        },
    ),
    "foundations.bill.2": (
        "tokens = (6 * 768 / 12, 6 * 4096 / 32)",
        {
            "tokens = (18 * 64, 768)": "Width 768: three tensors",
            "tokens = (16 * 64 / 3, 768)": "Width 768: with dropout",
            "tokens = (6 * 768, 768)": "Width 768: divide",
            "tokens = (72, 768)": "Width 768: which of the two",
            "tokens = (1, 768)": "Width 768: set both",
            "tokens = (384, 384)": "Width 4096: set both",
        },
    ),
    "foundations.bill.3": (
        K + "return n * layers * ((18 * d + 3 * n * d / d_head) if dropout else 16 * d)",
        {
            K + "return layers * (18 * d + 3 * n * d / d_head)": "one token",
            K + "return n * (18 * d + 3 * n * d / d_head)": "one layer",
            K + "return n * layers * (18 * d + n * d / d_head)": "three times with",
            K + "return n * layers * (16 * d + 3 * n * d / d_head)": "behind the sub-layers",
            K + "return n * layers * (18 * d + 3 * n)": "of its own",
            K + "return 4 * n * layers * (18 * d + 3 * n * d / d_head)": "Those are bytes",
            K + "return n * layers * (18 * d + 3 * n * d / d_head)": "there are no masks",
            K
            + "return n * layers * ((18 * d + 3 * n * d / d_head) if dropout else 18 * d)": "go as well",
        },
    ),
    "foundations.bill.4": (
        D + "return min(every, key=lambda k: layers / k + kappa * k)",
        {
            D + "return 1": "count as much",
            D + "return layers": "whole network",
            D + "return layers // 2": "is its root",
            D + "return round((layers / kappa) ** 0.5)": "must divide",
            D + "return round(layers ** 0.5)": "κ decides",
            D + "return every[len(every) // 2]": "Try every divisor",
        },
    ),
    "foundations.bill.5": (
        M + "return ((w + step) != w).double().mean().item()",
        {
            M + "return ((weights + step) != weights).double().mean().item()": "Round the weights",
            M + "return ((w + step) == w).double().mean().item()": "stands still",
            M + "return ((w + step) != w).sum().item()": "number of weights",
            M + "return ((weights + step).bfloat16() != w).double().mean().item()": "rounded away",
            M + "return 0.5": "Round to bfloat16",
        },
    ),
    "foundations.bill.6": (
        P
        + WALK
        + "held += new\n        most = max(most, held)\n        held -= k\n    return most",
        {
            P + "return base": "is there as well",
            P + "return base + sum(kept) + sum(gradients)": "That is the sum",
            P + "return base + max(sum(kept), sum(gradients))": "between them",
            P
            + WALK
            + "held += new - k\n        most = max(most, held)\n    return most": "still there",
            P
            + WALK.replace("[::-1]", "")
            + "held += new\n        most = max(most, held)\n        held -= k\n    return most": "top layer",
            P + "return base + sum(kept) + gradients[0]": "Walk down",
        },
    ),
}
