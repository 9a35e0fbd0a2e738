"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

U = "def bias_at(w, x):\n    "
A = "def attention(q, k, u, v):\n    "
F = "def fold(W, b, shift):\n    "

ANSWERS = {
    "sparse.bitfit.1": (
        "biases = (27648, 24576)",
        {
            "biases = (1152, 24576)": "one layer; there are 24",
            "biases = (64512, 24576)": "are narrower than",
            "biases = (24576, 24576)": "are three maps",
            "biases = (21504, 24576)": "have biases as well",
            "biases = (1, 24576)": "as long as what its map",
            "biases = (27648, 27648)": "never gets any",
            "biases = (27648, 21504)": "do get one",
            "biases = (27648, 6144)": "it is the keys'",
            "biases = (27648, 1024)": "that is one layer",
            "biases = (27648, 1)": "the softmax cancels",
        },
    ),
    "sparse.bitfit.2": (
        U + "return -(w @ x)",
        {
            U + "return w @ x": "The sign",
            U + "return -(w @ x) / w.norm()": "No division",
            U + "return -(w @ x) / x.norm()": "No division",
            U + "return 0 * (w @ x)": "is zero at the given point",
            U + "return (w - x).norm()": "is zero at the given point",
        },
    ),
    "sparse.bitfit.3": (
        A + "return ((q + u) @ (k + v).T / q.shape[1] ** 0.5).softmax(-1)",
        {
            A + "return ((k + v) @ (q + u).T / q.shape[1] ** 0.5).softmax(-1)": "transposed",
            A + "return (q @ (k + v).T / q.shape[1] ** 0.5).softmax(-1)": "Where does the query",
            A + "return ((q + v) @ (k + u).T / q.shape[1] ** 0.5).softmax(-1)": "swapped",
            A + "return ((q + u) @ (k + v).T).softmax(-1)": "root of the width",
            A + "return ((q + u) @ (k + v).T / q.shape[1] ** 0.5).softmax(0)": "add up to 1",
            A + "return (q + u) @ (k + v).T / q.shape[1] ** 0.5": "softmax is missing",
            A + "return ((q - u) @ (k + v).T / q.shape[1] ** 0.5).softmax(-1)": "Shift, multiply",
        },
    ),
    "sparse.bitfit.4": (
        F + "return b + W @ shift",
        {
            F + "return b.sum()": "has shape",
            F + "return b": "has arrived",
            F + "return W @ shift": "own bias is lost",
            F + "return b - W @ shift": "The sign",
            F + "return b + W.sum(1)": "add up to 1",
        },
    ),
    "sparse.bitfit.5": (
        "cause = (2, 4, 1, 3)",
        {
            "cause = (1, 2, 3)": "Give 4 numbers",
            "cause = (1, 1, 2, 3)": "belongs to one run",
            "cause = (4, 2, 1, 3)": "What did the filter find",
            "cause = (2, 1, 4, 3)": "Which rates were made",
            "cause = (2, 4, 3, 1)": "between there and the file",
        },
    ),
    "sparse.bitfit.6": (
        "printed = (0, 1, 0, 0)",
        {
            "printed = (2, 1, 0, 0)": "1 or 0",
            "printed = (1, 1, 0, 0)": "at 20 texts",
            "printed = (0, 0, 0, 0)": "at 5,000 texts",
            "printed = (0, 1, 1, 0)": "a sign at both ends",
            "printed = (0, 1, 0, 1)": "anything else",
        },
    ),
}
