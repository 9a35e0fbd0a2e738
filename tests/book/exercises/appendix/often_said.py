"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

S = "def saved(tasks, shared, layers):\n    left = (shared + tasks * (layers - shared)) / (tasks * layers)\n    "

M = "def merged(W, scale):\n    return "
L = "def lengthened(labels, length):\n    front = labels.new_full((len(labels), length), -100)\n    return "

ANSWERS = {
    "appendix.often_said.1": (
        "counts = (18.874368, 18)",
        {
            "counts = (18, 18)": "units of 2^20",
            "counts = (18874368, 18)": "divide it by a million",
            "counts = (18.874368, 18.874368)": "units of 10^6",
            "counts = (9.437184, 18)": "divided by a million",
            "counts = (18.874368, 9)": "divided by 2^20",
        },
    ),
    "appendix.often_said.2": (
        "answer = (2 / 3, 1 / 6)",
        {
            "answer = (1 / 3, 1 / 6)": "what is saved",
            "answer = (1 / 2, 1 / 6)": "not one of two",
            "answer = (1, 1 / 6)": "which one goes",
            "answer = (2 / 3, 1 / 2)": "three products each",
            "answer = (2 / 3, 1 / 3)": "two matrices",
            "answer = (2 / 3, 1)": "when is the sum",
        },
    ),
    "appendix.often_said.3": (
        S + "return 1 - left",
        {
            S + "return left": "what is left",
            S + "return shared / layers": "very many tasks",
            S + "return 100 * (1 - left)": "not a percentage",
            S + "return (1 - left) / 2": "Layers with sharing",
            S + "return 1 - left + (tasks == 1)": "nothing is shared",
        },
    ),
    "appendix.often_said.4": (
        "causes = (3, 4, 1, 2)",
        {
            "causes = (3, 3, 1, 2)": "Each cause belongs",
            "causes = (2, 4, 1, 3)": "(a) 24 predictions",
            "causes = (3, 2, 1, 4)": "(b) Which model",
            "causes = (3, 4, 2, 1)": "(c) The rank",
            "causes = 3": "Give 4 numbers",
        },
    ),
    "appendix.often_said.5": (
        "printed = (0, 1, 0)",
        {
            "printed = (0, 2, 0)": "Give 1 or 0",
            "printed = (1, 1, 0)": "(i) One task",
            "printed = (0, 0, 0)": "(ii) Which way",
            "printed = (0, 1, 1)": "(iii) An interval",
            "printed = 1": "Give 3 numbers",
        },
    ),
    "appendix.often_said.6": (
        M + "W * scale",
        {
            M + "W": "nowhere",
            M + "W + scale": "not added",
            M + "W / scale": "does not divide",
            M + "2 * W * scale": "must give what",
            M + "W.T": "The merged weight",
        },
    ),
    "appendix.often_said.7": (
        L + "torch.cat([front, labels], 1)",
        {
            L + "labels": "The labels",
            L + "torch.cat([labels, front], 1)": "in front of the text",
            L + "torch.cat([front, labels + 1], 1)": "have changed",
            L + "torch.cat([0 * front, labels], 1)": "have no loss",
            L + "torch.cat([front, labels], 1) if length else labels + 1": "have changed",
        },
    ),
}  # fmt: skip
