"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

G = "def gradient_of_B(g, z, s):\n    "
D = "def distance(D, A):\n    "
S = "def state(m, n, r):\n    "
P = "P = torch.linalg.pinv(A) @ A\n    "

ANSWERS = {
    "low_rank.lora_fa.1": (
        "saved = 8",
        {
            "saved = 16": "kept once",
            "saved = 2": "there are four",
            "saved = 0.5": "One layer, and numbers",
            "saved = 0.125": "That is z",
            "saved = 3": "Layers × texts",
        },
    ),
    "low_rank.lora_fa.2": (
        "trained = (10240, 8192)",
        {
            "trained = (262144, 8192)": "the frozen matrix",
            "trained = (1280, 8192)": "the rank is missing",
            "trained = (10240, 2048)": "you counted A",
            "trained = (10240, 5120)": "square matrices only",
            "trained = (10240, 1)": "of B alone",
            "trained = (1, 8192)": "of A and of B",
        },
    ),
    "low_rank.lora_fa.3": (
        G + "return s * g.T @ z",
        {
            G + "return s * z.T @ g": "transposed",
            G + "return g.T @ z": "is missing",
            G + "return s * s * g.T @ z": "there twice",
            G + "return -s * g.T @ z": "not the step",
            G + "return s * g.T @ z / len(g)": "Sum over the tokens",
            G + "return s * g.T @ z + 1": "s times the sum",
        },
    ),
    "low_rank.lora_fa.4": (
        D + P + "return (D - D @ P).norm().item()",
        {
            D + P + "return (D - D @ P).square().sum().item()": "squared distance",
            D + "return torch.linalg.svdvals(D)[len(A):].norm().item()": "LoRA's bound",
            D + P + "return (D @ P).norm().item()": "what can be reached",
            D + "return D.norm().item()": "at B = 0",
            D + P + "return 2 * (D - D @ P).norm().item()": "its projection on the rows",
            D + P + "return (D - D @ P).norm().item() + float(len(A) == 7)": "misses nothing",
        },
    ),
    "low_rank.lora_fa.5": (
        S + "return min(m, n) * r + 2 * max(m, n) * r",
        {
            S + "return 2 * max(m, n) * r": "projector is missing",
            S + "return (m + n) * r": "two moments of R",
            S + "return 2 * m * n": "the whole matrix",
            S + "return m * r + 2 * n * r": "whichever it is",
            S + "return 2 * (m + n) * r": "held once",
            S + "return m": "larger side",
        },
    ),
}
