"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

A = "def attend(Q, K, V, l_k, l_v):\n    d = Q.shape[-1]\n    "
F = "def fold(W_k, b_k, l_k, W_2, l_ff):\n    c = l_k.unsqueeze(1)\n    "
R = "def rescale(h, vectors, tasks):\n    "

ANSWERS = {
    "others.ia3.1": (
        "counts = (524288, 86016)",
        {
            "counts = (16384, 86016)": "that is one layer",
            "counts = (720896, 86016)": "heads share them",
            "counts = (983040, 86016)": "two maps",
            "counts = (589824, 86016)": "no cross-attention in it",
            "counts = (655360, 86016)": "queries are not",
            "counts = (524288, 73728)": "attend twice",
            "counts = (524288, 98304)": "the encoder has no",
            "counts = (524288, 7168)": "twelve layers",
            "counts = (1, 86016)": "in each layer",
            "counts = (524288, 1)": "on one side",
            "counts = 524288": "Give 2 numbers",
        },
    ),
    "others.ia3.2": (
        A + "return (Q @ (l_k * K).T / d**0.5).softmax(-1) @ (l_v * V)",
        {
            A + "return (Q @ K.T / d**0.5).softmax(-1) @ V": "That is the base",
            A + "return (Q @ (l_k * K).T / d**0.5).softmax(-1) @ V": "values are not",
            A + "return (Q @ K.T / d**0.5).softmax(-1) @ (l_v * V)": "keys are not",
            A + "return (Q @ (l_v * K).T / d**0.5).softmax(-1) @ (l_k * V)": "other one's place",
            A + "return ((l_k * Q) @ (l_k * K).T / d**0.5).softmax(-1) @ (l_v * V)": "Queries have",
            A + "return (Q @ (l_k + K).T / d**0.5).softmax(-1) @ (l_v + V)": "do not add",
            A + "return (Q @ (l_k * K).T).softmax(-1) @ (l_v * V)": "root of the width",
            A + "return Q @ K.T": "has shape",
            A + "return l_k * V": "as it always is",
        },
    ),
    "others.ia3.3": (
        F + "return c * W_k, l_k * b_k, W_2 * l_ff",
        {
            F + "return W_k, l_k * b_k, W_2 * l_ff": "W_k has not changed",
            F + "return l_k * W_k, l_k * b_k, W_2 * l_ff": "yours scales columns",
            F + "return c * W_k, b_k, W_2 * l_ff": "part of the key",
            F + "return c * W_k, l_k + b_k, W_2 * l_ff": "b_k: multiply",
            F + "return c * W_k, l_k * b_k, W_2": "W_2 has not changed",
            F + "return c * W_k, l_k * b_k, l_ff.unsqueeze(1) * W_2": "yours scales rows",
            F + "return c * W_k, l_k * b_k, W_2 * l_k": "vector of the keys",
            F + "return c * W_k, l_k * b_k, W_2 / l_ff": "multiply by the factor",
            F + "return c * W_k, W_2 * l_ff": "three tensors",
            F + "W_2 *= l_ff\n    return c * W_k, l_k * b_k, W_2": "in place",
        },
    ),
    "others.ia3.4": (
        R + "return h * vectors[tasks].unsqueeze(1)",
        {
            R + "return h * vectors[tasks]": "belongs to a task",
            R + "return h * vectors[0]": "first task",
            R + "return h * vectors.mean(0)": "serves none",
            R + "return h * vectors[sorted(tasks)].unsqueeze(1)": "keep their order",
            R + "return h + vectors[tasks].unsqueeze(1)": "do not add",
            R + "return h": "Look up",
            R + "return h[0]": "has shape",
        },
    ),
    "others.ia3.5": (
        "questions = (300, 200)",
        {
            "questions = (100, 200)": "How much dearer",
            "questions = (1200, 200)": "not the steps",
            "questions = (9600, 200)": "Divide by",
            "questions = (600, 200)": "(i) Reading costs",
            "questions = (300, 300)": "costs 4 N now",
            "questions = (300, 400)": "(ii) Reading costs",
            "questions = 300": "Give 2 numbers",
        },
    ),
    "others.ia3.6": (
        "causes = (3, 4, 2, 1)",
        {
            "causes = (4, 3, 2, 1)": "(a) Before",
            "causes = (3, 2, 4, 1)": "(b) Not a",
            "causes = (3, 4, 1, 2)": "(c) How far",
            "causes = (3, 3, 2, 1)": "one run",
            "causes = 3": "Give 4 numbers",
        },
    ),
    "others.ia3.7": (
        "printed = (1, 0, 0, 1)",
        {
            "printed = (0, 0, 0, 1)": "(i) Does",
            "printed = (1, 1, 0, 1)": "(ii) An interval",
            "printed = (1, 0, 1, 1)": "(iii) Where",
            "printed = (1, 0, 0, 0)": "(iv) Which",
            "printed = (1, 0, 0, 2)": "Give 1 or 0",
        },
    ),
}
