"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

C = "def step_cost(layers, trained, q):\n    t = [n for n in trained if n > 0]\n    low = min(trained, default=layers + 1)\n    travel = sum(1 for n in range(1, layers + 1) if n >= low)\n    "
P = "def fit_probe(X, Y, ridge):\n    one = torch.eye(X.shape[1], dtype=X.dtype)\n    "
R = "def layer_rates(names, layers, rate, decay):\n    rates = {}\n    for name in names:\n        place = name.split('.')\n        "


def rates(body, head="rate", embeddings="rate / decay ** layers"):
    return (
        f"{R}if place[0] in ('pooler', 'classifier'):\n            rates[name] = {head}\n"
        f"        elif place[0] == 'embeddings':\n            rates[name] = {embeddings}\n"
        f"        else:\n            n = int(place[2])\n            rates[name] = {body}\n    return rates"
    )


PREFIX = """def layer_rates(names, layers, rate, decay):
    rates = {}
    for name in names:
        rates[name] = rate if "embeddings" not in name else rate / decay ** layers
    for name in names:
        for n in range(layers):
            if f"layer.{n}" in name:
                rates[name] = rate / decay ** (layers - 1 - n)
                break
    return rates"""

ANSWERS = {
    "foundations.finetuning.1": (
        "billions = (24 / 2 / 16, 24 / 2 / 4)",
        {
            "billions = (24 / 16, 3)": "half of the card",
            "billions = (24 / 2 / 4, 3)": "not all that Adam keeps",
            "billions = (24 / 2 / 12, 3)": "and the weight?",
            "billions = (0.75e9, 3e9)": "give billions",
            "billions = (0.6, 3)": "divide the bytes",
            "billions = (0.75, 0.75)": "no gradient and no averages",
            "billions = (0.75, 6)": "its weight alone",
            "billions = 0.75": "Give 2 numbers",
        },
    ),
    "foundations.finetuning.2": (
        "share = (23.75 / 36, 29.75 / 36)",
        {
            "share = (0.5, 29.75 / 36)": "forward pass is not halved",
            "share = (23.75 / 12, 29.75 / 36)": "relative to full fine-tuning",
            "share = (24 / 36, 29.75 / 36)": "by no door",
            "share = (0.9, 29.75 / 36)": "Top half: add forward",
            "share = (23.75 / 36, 23.75 / 36)": "come down from the head",
            "share = (23.75 / 36, 0.7)": "Bottom half: add forward",
        },
    ),
    "foundations.finetuning.3": (
        C + "return layers + len(t) + travel - (q if t and 0 not in trained else 0)",
        {
            C
            + "return layers + len(t) + layers - (q if 0 not in trained else 0)": "trains no layer",
            C
            + "return len(t) + travel - (q if t and 0 not in trained else 0)": "runs forward through",
            C + "return layers + len(t) + travel - (q if t else 0)": "must leave layer 1 too",
            C
            + "return layers + len(trained) + travel - (q if t and 0 not in trained else 0)": "no matrix product of their own",
            C
            + "return layers + len(trained) + travel - (q if t else 0)": "Number 0 stands for the embeddings: look",
            C
            + "return layers + 2 * len(t) - (q if t and 0 not in trained else 0)": "travels through frozen layers above",
            C + "return layers + 2 * len(t)": "and q is missing",
            C + "return layers + len(t) + travel": "need not leave by query",
            C
            + "return layers + len(t) + (layers if t else 0) - (q if t and 0 not in trained else 0)": "Below the lowest trained",
            C
            + "return 3 * layers if 0 in trained else layers + max(0, travel - 1)": "Where are the gradients of the weights",
            C
            + "return 3 * layers if 0 in trained else 2 * layers - 1 if t else layers": "Count forward, weights and travel apart",
        },
    ),
    "foundations.finetuning.4": (
        P + "return torch.linalg.solve(X.T @ X + ridge * one, X.T @ Y)",
        {
            P
            + "return X @ torch.linalg.solve(X.T @ X + ridge * one, X.T @ Y)": "not the predictions",
            P + "return torch.linalg.solve(X.T @ X + ridge * one, X.T @ Y).T": "not its transpose",
            P + "torch.linalg.solve(X.T @ X + ridge * one, X.T @ Y)": "return missing",
            P + "return torch.linalg.solve(X.T @ X, X.T @ Y)": "where does ridge go",
            P + "return torch.linalg.solve(X.T @ X + ridge**2 * one, X.T @ Y)": "you squared it",
            P + "return torch.linalg.solve(X.T @ X + 20 * ridge * one, X.T @ Y)": "not their mean",
            P
            + "return torch.linalg.solve(X.T @ X - ridge * one, X.T @ Y)": "rewards large weights",
            P
            + "return -torch.linalg.solve(X.T @ X + ridge * one, X.T @ Y)": "weight has the wrong sign",
            P + "return torch.linalg.solve(X.T @ X + ridge, X.T @ Y)": "on the diagonal only",
        },
    ),
    "foundations.finetuning.5": (
        rates("rate / decay ** (layers - 1 - n)"),
        {
            "def layer_rates(names, layers, rate, decay):\n    return [rate for name in names]": "a dictionary with a rate",
            rates("rate / decay ** (layers - 1 - n)", head="rate / decay"): "gets the rate itself",
            rates(
                "rate / decay ** (layers - n)", embeddings="rate / decay ** (layers + 1)"
            ): "not yet divided",
            rates("rate / decay ** n"): "bottom gets more",
            rates(
                "rate / decay ** (layers - 1 - n)", embeddings="rate / decay ** (layers - 1)"
            ): "one step below layer 0",
            PREFIX: "also the beginning of",
            rates(
                "rate * (1 - (layers - 1 - n) / (layers + 1))", embeddings="rate / (layers + 1)"
            ): "equal differences",
            rates("rate / decay ** (2 * (layers - 1 - n))", embeddings="0"): "should have",
        },
    ),
}
