"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

M = "import torch\n\ndef mixed(X, W, A, B, owners, s):\n    a, b = A[owners], B[owners]\n    thin = torch.einsum('nor,nri,ni->no', b, a, X)\n    "
R = "def read(tasks, weights, adapter):\n    "
C = "def cache_bytes(layers, width, length, p):\n    "

ANSWERS = {
    "language_models.serving.1": (
        "answer = (7, 2100)",
        {
            "answer = (8, 2100)": "has to stay free",
            "answer = (14, 2100)": "not one.",
            "answer = (3, 2100)": "not four",
            "answer = (9, 2100)": "How often does",
            "answer = (7, 2400)": "has to be there",
            "answer = (7, 4200)": "adapters have two bytes",
            "answer = (7, 2250)": "not in parameters",
        },
    ),
    "language_models.serving.2": (
        M + "return X @ W.T + s * thin",
        {
            M + "return (X @ W.T + s * thin).T": "has shape",
            M + "return X @ W.T + thin": "scale s is missing",
            M + "return s * thin": "big product is missing",
            M + "return X @ W.T": "do nothing here",
            M + "return X @ W.T + s * X @ a[0].T @ b[0].T": "of the first one",
            M + "return X @ W.T + s * X @ A.sum(0).T @ B.sum(0).T": "mix the tasks",
            M + "return X @ W.T + s * sum(X @ p.T @ q.T for p, q in zip(A, B))": "not all of them",
            M + "return X @ W.T - s * thin": "Gather A and B",
        },
    ),
    "language_models.serving.3": (
        R + "return tasks * (weights + adapter), weights + tasks * adapter",
        {
            R + "return tasks * weights": "Give 2 numbers",
            R + "return weights + tasks * adapter, 0": "reads the backbone anew",
            R + "return tasks * weights, 0": "are read as well",
            R + "return tasks * (weights + adapter), weights + adapter": "Every task has",
            R + "return tasks * (weights + adapter), tasks * (weights + adapter)": "backbone once",
            R + "return tasks * (weights + adapter), weights": "are read, too",
        },
    ),
    "language_models.serving.4": (
        C + "return 2 * 2 * layers * width * (length + p)",
        {
            C + "return 4 * layers * width * length": "stands in the cache",
            C + "return 2 * layers * width * (length + p)": "Keys and values, two",
            C + "return 4 * width * (length + p)": "Every layer",
            C + "return 8 * layers * width * (length + p)": "are two bytes",
            C + "return 5 * layers * width * (length + p)": "× positions ×",
        },
    ),
    "language_models.serving.5": (
        "causes = (2, 4, 1, 3)",
        {
            "causes = (2, 2, 1, 3)": "Each cause belongs",
            "causes = (4, 2, 1, 3)": "(a) The error",
            "causes = (2, 1, 4, 3)": "(b) Only",
            "causes = (2, 4, 3, 1)": "(c) Both",
            "causes = 2": "Give 4 numbers",
        },
    ),
    "language_models.serving.6": (
        "printed = (1, 0, 0, 1)",
        {
            "printed = (0, 0, 0, 1)": "(i) Compare",
            "printed = (1, 1, 0, 1)": "(ii) On which",
            "printed = (1, 0, 1, 1)": "(iii) At one",
            "printed = (1, 0, 0, 0)": "(iv) Compare",
            "printed = (1, 0, 0, 2)": "Give 1 or 0",
        },
    ),
}
