"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

F = "def lora_output(x, h, A, B, alpha):\n    "
G = "def gradients(G, A, B, s):\n    "
M = "def merged(W, A, B, alpha):\n    "
S = "def best_factors(D, rank, s):\n    U, v, Vt = torch.linalg.svd(D, full_matrices=False)\n    "

ANSWERS = {
    "low_rank.lora.1": (
        "break_even = (1 / 2, 4 / 5)",
        {
            "break_even = (1, 4 / 5)": "two full matrices",
            "break_even = (1 / 4, 4 / 5)": "Square matrix: put",
            "break_even = (1 / 2, 2)": "half of d_out",
            "break_even = (1 / 2, 1 / 2)": "Wide matrix",
            "break_even = 0.5": "Give 2 numbers",
        },
    ),
    "low_rank.lora.2": (
        "change = [[-0.1, 0.0], [-0.3, 0.0]]",
        {
            "change = [[0.1, 0.0], [0.3, 0.0]]": "The sign",
            "change = [[-0.1, -0.2], [-0.3, -0.4]]": "full fine-tuning",
            "change = [[-1.0, 0.0], [-3.0, 0.0]]": "learning rate 0.1",
            "change = [[-0.1, -0.3], [0.0, 0.0]]": "First find the new B",
            "change = [-0.1, -0.3]": "has shape (2,)",
        },
    ),
    "low_rank.lora.3": (
        F + "return h + alpha / A.shape[0] * (x @ A.T @ B.T)",
        {
            F + "h + x @ A.T @ B.T": "return missing",
            F + "return x @ A.T": "has shape",
            F + "return alpha / A.shape[0] * (x @ A.T @ B.T)": "should equal h",
            F + "h += alpha / A.shape[0] * (x @ A.T @ B.T)\n    return h": "in place",
            F + "return h + x @ A.T @ B.T": "scale is missing",
            F + "return h + alpha * (x @ A.T @ B.T)": "you used α.",
            F + "return h + alpha / A.shape[0] ** 0.5 * (x @ A.T @ B.T)": "not α / √r",
            F + "return h - alpha / A.shape[0] * (x @ A.T @ B.T)": "subtracted it",
            F + "return h.clone()": "no effect",
            F + "return h + alpha / A.shape[1] * (x @ A.T @ B.T)": "Write the shapes",
        },
    ),
    "low_rank.lora.4": (
        G + "return s * B.T @ G, s * G @ A.T",
        {
            G + "return s * B.T @ G": "Return two things",
            G + "return s * G @ A.T, s * B.T @ G": "exchanged",
            G + "return B.T @ G, G @ A.T": "lack the scale",
            G + "return -s * B.T @ G, -s * G @ A.T": "direction of descent",
            G + "return s * B.T @ G, s * s * G @ A.T": "scale twice",
            G + "return 0 * A, s * G @ A.T": "zero only while B is",
            G + "return s * B.T @ G, B": "The gradient of B differs",
            G + "return A, s * G @ A.T": "the gradient of A differs",
        },
    ),
    "low_rank.lora.5": (
        M + "return W + alpha / A.shape[0] * B @ A",
        {
            M + "return W.T + alpha / A.shape[0] * (B @ A).T": "has shape",
            M + "W += alpha / A.shape[0] * B @ A\n    return W": "in place",
            M + "return W.clone()": "nothing was added",
            M + "return alpha / A.shape[0] * B @ A": "Where is W?",
            M + "return W + B @ A": "forgot the scale",
            M + "return W + alpha * B @ A": "divide by the rank",
            M + "return W - alpha / A.shape[0] * B @ A": "unmerges",
            M + "return W * (1 + alpha)": "unmerged, and does not",
        },
    ),
    "low_rank.lora.6": (
        S + "return Vt[:rank], U[:, :rank] * v[:rank] / s",
        {
            S + "return U[:, :rank] * v[:rank] / s, Vt[:rank]": "A and B are exchanged",
            S + "return Vt, U * v / s": "All singular values were kept",
            S + "return Vt[:rank], U[:, :rank] * v[:rank]": "Where does s go",
            S + "return Vt[:rank], U[:, :rank] * v[:rank] * s": "to be undone",
            S + "return Vt[-rank:], U[:, -rank:] * v[-rank:] / s": "smallest singular values",
            S + "return Vt[:rank], U[:, :rank] / s": "Nearer than nothing",
            S + "return Vt[:rank], -U[:, :rank] * v[:rank] / s": "no nearer to D",
        },
    ),
}
