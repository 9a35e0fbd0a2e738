"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

B = "def bottleneck(W_q, P_K, P_V):\n    root = P_K.shape[1] ** 0.5\n    "
G = "def gate(z, real, w, b):\n    each, n = torch.sigmoid(z @ w + b), real.sum(1)\n    "
M = "def minus_one(whole, without, t):\n    apart, n = whole - without, whole.shape[0] ** 0.5\n    "

ANSWERS = {
    "others.hybrids.1": (
        "counts = (13565952, 98400)",
        {
            "counts = (565248, 98400)": "MAM: that is one layer",
            "counts = (13074432, 98400)": "keys and values",
            "counts = (7274496, 98400)": "down and up",
            "counts = (26148864, 98400)": "alone",
            "counts = (13596672, 98400)": "leaves the biases out",
            "counts = (13565952, 4100)": "Gates: that is one layer",
            "counts = (13565952, 73800)": "one each",
            "counts = (13565952, 98304)": "a bias, too",
            "counts = (13565952, 96)": "whole state",
            "counts = (1, 98400)": "thrown away",
            "counts = (13565952, 1)": "adapter, prefix, query and value",
            "counts = 13565952": "Give 2 numbers",
        },
    ),
    "others.hybrids.2": (
        B + "return P_K @ W_q / root, P_V.T",
        {
            B + "return P_K @ W_q, P_V.T": "by a root",
            B + "return P_K @ W_q / W_q.shape[1] ** 0.5, P_V.T": "width of a head",
            B + "return P_V @ W_q / root, P_V.T": "of queries and",
            B + "return P_K @ W_q / root**2, P_V.T": "take the root",
            B + "return P_K @ W_q / root, P_K.T": "are the values",
            B + "return P_K @ W_q / root, P_V.T / root": "belongs to the scores",
            B + "return P_K @ W_q / root, P_V.T / 3": "mean already",
            B + "return P_K @ W_q / root, P_V": "has shape",
            B + "return P_K @ W_q / root": "two tensors",
        },
    ),
    "others.hybrids.3": (
        G + "return (each * real).sum(1) / n",
        {
            G + "return each.mean(1)": "Padding has a say",
            G + "return (each * real).mean(1)": "length of the batch",
            G + "return (each * real).sum(1)": "Take the mean",
            G + "return torch.sigmoid(((z @ w + b) * real).sum(1) / n)": "other order",
            G + "return (torch.sigmoid(z @ w) * real).sum(1) / n": "bias is missing",
            G + "return ((z @ w + b) * real).sum(1) / n": "between 0 and 1",
            G + "return each": "has shape",
            G + "return n / 4": "The mean over",
        },
    ),
    "others.hybrids.4": (
        M + "return apart.mean(1), t * apart.std(1) / n",
        {
            M + "return -apart.mean(1), t * apart.std(1) / n": "less what lacks",
            M + "return apart.sum(1), t * apart.std(1) / n": "number of seeds",
            M + "return without.mean(1), t * apart.std(1) / n": "not of the scores",
            M + "return apart.median(1).values, t * apart.std(1) / n": "median",
            M + "return apart.mean(1), apart.std(1) / n": "times t",
            M + "return apart.mean(1), t * apart.std(1)": "root of the number",
            M + "return apart.mean(1), t * apart.std(1, correction=0) / n": "one seed less",
            M + "return apart.mean(1), t * (whole.var() + without.var(1)).sqrt() / n": "together",
            M + "return apart.mean(1), t * without.std(1) / n": "Half-widths: of the differences",
            M + "return apart.mean(1)": "two tensors",
        },
    ),
    "others.hybrids.5": (
        "causes = (4, 3, 1, 2)",
        {
            "causes = (1, 3, 4, 2)": "(a) Who",
            "causes = (4, 1, 3, 2)": "(b) What",
            "causes = (4, 3, 2, 1)": "(c) Which",
            "causes = (4, 4, 1, 2)": "one case",
            "causes = 4": "Give 4 numbers",
        },
    ),
    "others.hybrids.6": (
        "printed = (0, 1, 0, 1)",
        {
            "printed = (1, 1, 0, 1)": "(i) Which",
            "printed = (0, 0, 0, 1)": "(ii) Does",
            "printed = (0, 1, 1, 1)": "(iii) The",
            "printed = (0, 1, 0, 0)": "(iv) What",
            "printed = (0, 1, 0, 2)": "Give 1 or 0",
        },
    ),
}
