"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

F = "def follow(W, A, B, A_new, B_new, s, ratio):\n    "
O = "def output(x, h, A, B, A_0, B_0, s, ratio):\n    now, then = x @ A.T @ B.T, x @ A_0.T @ B_0.T\n    "
M = "def moved(As, Bs, s, ratios):\n    P = [s * B @ A for A, B in zip(As, Bs)]\n    "

ANSWERS = {
    "low_rank.delta_lora.1": (
        "ranks = (8, 8, 4)",
        {
            "ranks = (4, 8, 4)": "a difference of two products",
            "ranks = (64, 8, 4)": "cannot fill 64",
            "ranks = (16, 8, 4)": "ranks add up",
            "ranks = (8, 64, 4)": "nothing to do with one another",
            "ranks = (8, 400, 4)": "so high a rank",
            "ranks = (8, 8, 8)": "when B is zero",
            "ranks = 8": "Give 3 numbers",
        },
    ),
    "low_rank.delta_lora.2": (
        F + "return W + ratio * s * (B_new @ A_new - B @ A)",
        {
            F + "return ratio * s * (B_new @ A_new - B @ A)": "not its increment",
            F + "return W - ratio * s * (B_new @ A_new - B @ A)": "the other way",
            F + "return W + ratio * (B_new @ A_new - B @ A)": "scale s of the update",
            F + "return W + s * (B_new @ A_new - B @ A)": "Where is the ratio",
            F + "return W + ratio * s * B_new @ A_new": "not the product.",
            F + "return W + ratio * s * (B_new - B) @ (A_new - A)": "product of the changes",
            F + "return B_new": "has shape",
            F + "W += ratio * s * (B_new @ A_new - B @ A)\n    return W": "in place",
        },
    ),
    "low_rank.delta_lora.3": (
        O + "return h + s * now + ratio * s * (now - then)",
        {
            O + "return h + s * now": "That is LoRA",
            O + "return h + ratio * s * (now - then)": "still added",
            O + "return s * now + ratio * s * (now - then)": "h is missing",
            O + "return h + (1 + ratio) * s * now": "not at zero",
            O + "return h + s * now + ratio * s * (then - now)": "signs",
            O + "return h + now - then": "Three terms",
            O + "return x": "has shape",
        },
    ),
    "low_rank.delta_lora.4": (
        M + "return sum(r * (b - a) for r, a, b in zip(ratios, P, P[1:]))",
        {
            M + "return ratios[0] * (P[-1] - P[0])": "the first ratio",
            M + "return ratios[-1] * (P[-1] - P[0])": "the last ratio",
            M + "return sum(ratios) / len(ratios) * (P[-1] - P[0])": "mean ratio",
            M
            + "return sum(r * (b - a) for r, a, b in zip(ratios, P, P[1:])) / s": "carries the scale",
            M + "return ratios[-1] * (P[-1] - P[-2])": "last increment alone",
            M + "return P[-1]": "of its own step",
        },
    ),
    "low_rank.delta_lora.5": (
        "causes = (3, 1, 4, 2)",
        {
            "causes = (2, 1, 4, 3)": "Run A: which",
            "causes = (3, 2, 4, 1)": "Run B: one product",
            "causes = (3, 1, 2, 4)": "Run C: nothing has",
            "causes = (3, 1, 4, 1)": "Run D: 2 r",
            "causes = (5, 1, 4, 2)": "1 to 4",
            "causes = 3": "Give 4 numbers",
        },
    ),
    "low_rank.delta_lora.6": (
        "printed = (1, 0, 0, 1)",
        {
            "printed = (0, 0, 0, 1)": "Sentence (i):",
            "printed = (1, 1, 0, 1)": "Sentence (ii):",
            "printed = (1, 0, 1, 1)": "Sentence (iii):",
            "printed = (1, 0, 0, 0)": "Sentence (iv):",
            "printed = (2, 0, 0, 1)": "Give 1 for",
            "printed = 1": "Give 4 numbers",
        },
    ),
}
