"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

L = "def labels(prompt, answer, end, length):\n    "
P = "rest = [-100] * (length - len(prompt) - len(answer) - 1)\n    "
M = "def mask(lengths):\n    "
B = "b = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))\n    "
S = "same = b[:, None] == b[None]\n    "
F = "def loss(logits, labels):\n    log = logits.log_softmax(-1)\n    "
K = "keep = labels[1:] != -100\n    picked = log[:-1][keep].gather(1, labels[1:][keep][:, None])\n    "

ANSWERS = {
    "language_models.instruction_tuning.1": (
        "tokens = (8000, 2000)",
        {
            "tokens = (1800, 2000)": "those are the tokens",
            "tokens = (1000, 2000)": "that is one row",
            "tokens = (800, 2000)": "eight rows, each",
            "tokens = (8000, 1800)": "filled up, too",
            "tokens = (8000, 1000)": "do not fit",
            "tokens = (8000, 3000)": "fit into one row",
            "tokens = (8000, 4000)": "count whole rows",
        },
    ),
    "language_models.instruction_tuning.2": (
        L + P + "return [-100] * len(prompt) + answer + [end] + rest",
        {
            L + "return [-100] * len(prompt) + answer + [end]": "padding included",
            L + "return tuple(answer)": "Return a list",
            L + P + "return prompt + answer + [end] + rest": "of the prompt has a loss",
            L + P + "return [-100] * len(prompt) + answer[1:] + [end, end] + rest": "Do not shift",
            L + P + "return [-100] * (len(prompt) + 1) + answer[1:] + [end] + rest": "lacks its",
            L + P + "return [-100] * len(prompt) + answer + [-100] + rest": "learn to stop",
            L + P + "return [-100] * len(prompt) + answer + [end] * (len(rest) + 1)": "Padding has",
        },
    ),
    "language_models.instruction_tuning.3": (
        M + B + S + "return same.tril()",
        {
            M + B + S + "return same.triu()": "Transposed",
            M + B + S + "return same.tril(-1)": "sees itself, too",
            M + B + S + "return same": "One example alone",
            M + B + S + "return torch.ones_like(same).tril()": "Causal over the whole row",
            M + B + S + "return same.tril() if len(lengths) == 1 else same": "never see each other",
        },
    ),
    "language_models.instruction_tuning.4": (
        F + K + "return -picked.mean()",
        {
            F + "k = labels != -100\n    return -log[k].gather(1, labels[k][:, None]).mean()": "shift",
            F + K + "return -picked.sum()": "not the sum",
            F + K + "return -picked.sum() / len(labels)": "not by all tokens",
            F + K + "return -picked.sum() / (len(labels) - 1)": "not by all predictions",
            F + K + "return picked.mean()": "The sign",
            F + K + "return -picked.mean() + 1": "Equation 1",
        },
    ),
    "language_models.instruction_tuning.5": (
        "causes = (2, 3, 4, 1)",
        {
            "causes = (2, 2, 4, 1)": "Each cause belongs",
            "causes = (1, 3, 4, 2)": "(a) The beginning",
            "causes = (2, 1, 4, 3)": "(b) The weights",
            "causes = (2, 3, 1, 4)": "(c) The form",
            "causes = 2": "Give 4 numbers",
        },
    ),
    "language_models.instruction_tuning.6": (
        "printed = (1, 0, 0)",
        {
            "printed = (1, 2, 0)": "Give 1 or 0",
            "printed = (0, 0, 0)": "(i) Does",
            "printed = (1, 1, 0)": "(ii) An interval",
            "printed = (1, 0, 1)": "(iii) Both runs",
            "printed = 1": "Give 3 numbers",
        },
    ),
}  # fmt: skip
