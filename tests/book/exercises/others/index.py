"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

R = "def rotation(M):\n    one, Q = torch.eye(len(M), dtype=M.dtype), (M - M.T) / 2\n    "
I = "def merge_ia3(W, b, l, where):\n    "
OUT = "return (l[:, None] * W, l * b) if where == 'output' else (W * l, b)"
L = "def loreft(h, R, W, b):\n    edit = h @ W.T + b - h @ R.T\n    "

ANSWERS = {
    "others.index.1": (
        "counts = (12 * 6 * 768, 12 * 2 * 24 * 32 * 31 // 2)",
        {
            "counts = (6 * 768, 285696)": "that is one layer",
            "counts = (12 * 3 * 768, 285696)": "is 4 d wide",
            "counts = (12 * 2 * 768, 285696)": "three vectors",
            "counts = (1, 285696)": "the middle of width 4 d",
            "counts = (55296, 12 * 2 * 24 * 32 * 32)": "its upper triangle",
            "counts = (55296, 12 * 2 * 24 * 32 * 33 // 2)": "diagonal of a skew",
            "counts = (55296, 12 * 24 * 32 * 31 // 2)": "query *and* value",
            "counts = (55296, 24 * 32 * 31 // 2)": "blocks on the diagonal",
            "counts = (55296, 1)": "OFT: 24 blocks of 32",
        },
    ),
    "others.index.2": (
        "fourier = (24 * 1000, 24 * 8 * 1536 / 24000)",
        {
            "fourier = (1000, 12.288)": "its own coefficients",
            "fourier = (72000, 12.288)": "are drawn, not trained",
            "fourier = (12000, 12.288)": "24 matrices",
            "fourier = (24000, 24000 / 294912)": "above one",
            "fourier = (24000, 6.144)": "both A and B",
            "fourier = (24000, 3)": "LoRA has 24",
        },
    ),
    "others.index.3": (
        R + "return torch.linalg.solve(one - Q, one + Q)",
        {
            R + "return torch.linalg.solve(one - Q, one + Q)[0]": "has shape",
            R + "return torch.linalg.solve(one - M, one + M)": "not skew",
            R + "return (one + Q) / (one - Q)": "entry by entry",
            R + "return one + 2 * Q": "first term of a series",
            R
            + "S = (M + M.T) / 2\n    return torch.linalg.solve(one - S, one + S)": "skew part has a minus",
            R + "return M": "R Rᵀ should be",
            R + "return torch.linalg.solve(one + Q, one - Q)": "turns the other way",
            R + "return torch.linalg.solve(one - 2 * Q, one + 2 * Q)": "*half* of",
            R + "return torch.matrix_exp(2 * Q)": "The exponential",
            R + "return one": "never turns",
            R + "return torch.linalg.qr(M).Q": "not Cayley's transform",
        },
    ),
    "others.index.4": (
        I + OUT,
        {
            I + "return W": "Return two things",
            I + "return W.T, b": "The weight for",
            I + "return W, W": "The bias for",
            I + "W *= l[:, None] if where == 'output' else l\n    return W, b": "in place",
            I + "return W, b": "'output': nothing",
            I
            + "return (l[:, None] * W, b) if where == 'output' else (W * l, b)": "a part of what l",
            I + "return (W, l * b) if where == 'output' else (W * l, b)": "only the bias",
            I
            + "return (W / l[:, None], b / l) if where == 'output' else (W * l, b)": "'output': multiply",
            I
            + "return (W * l.mean(), l * b) if where == 'output' else (W * l, b)": "Rows or columns",
            I
            + "return (l[:, None] * W, l * b) if where == 'output' else (W, b)": "'input': nothing",
            I
            + "return (l[:, None] * W, l * b) if where == 'output' else (W / l, b)": "'input': multiply",
            I
            + "return (l[:, None] * W, l * b) if where == 'output' else (W * l, 0 * b)": "the bias got lost",
            I
            + "return (l[:, None] * W, l * b) if where == 'output' else (W * l, 2 * b)": "the bias stays",
        },
    ),
    "others.index.5": (
        L + "return h + edit @ R",
        {
            L + "return edit": "has shape",
            L + "return h.clone()": "Nothing was edited",
            L + "return edit @ R": "h is added to",
            L + "return h + edit @ W": "the way back is Rᵀ",
            L + "return h + (h @ W.T + b) @ R": "R h was not taken away",
            L + "return h + (h @ W.T - h @ R.T) @ R": "b is missing",
            L + "return h - edit @ R": "The sign of the edit",
            L + "return h + (b - h @ R.T) @ R": "W h is missing",
            L + "return h + 2 * edit @ R": "made twice",
            L + "return h + edit @ R / 2": "should be W h + b",
        },
    ),
}
