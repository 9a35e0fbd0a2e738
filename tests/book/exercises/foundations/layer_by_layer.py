"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

T = "def trained(layers, steps, step):\n    n = 1 + (step - 1) * (layers + 1) // steps\n    "
S = "def share(layers, q):\n    costs = [layers + 2 * u - q for u in range(1, layers + 1)]\n    "
M = "def movement(old, new):\n    d = torch.cat([(b - a).flatten() for a, b in zip(old, new)])\n    o = torch.cat([a.flatten() for a in old])\n    w = torch.cat([b.flatten() for b in new])\n    "

ANSWERS = {
    "foundations.layer_by_layer.1": (
        "steps = (121, 241)",
        {
            "steps = (120, 241)": "Layer 6: that is the last step before",
            "steps = (101, 241)": "Layer 6: one phase later",
            "steps = (141, 241)": "Layer 6: one phase earlier",
            "steps = (127, 241)": "Layer 6: the embeddings are a group",
            "steps = (7, 241)": "Layer 6: 13 phases",
            "steps = (121, 1)": "The embeddings: that is the schedule",
            "steps = (121, 260)": "The embeddings: 13 phases",
        },
    ),
    "foundations.layer_by_layer.2": (
        "rates = (2e-3 / 9, 2e-3 / 729)",
        {
            "rates = (2e-3 / 81, 2e-3 / 729)": "Layer 4: count from the top",
            "rates = (2e-3 / 6, 2e-3 / 729)": "Layer 4: divide again",
            "rates = (2e-3 * 9, 2e-3 / 729)": "Layer 4: lower layers",
            "rates = (2e-3 / 3, 2e-3 / 729)": "Layer 4: one division",
            "rates = (2e-3 / 2.6**2, 2e-3 / 729)": "Layer 4: the divisor",
            "rates = (1, 2e-3 / 729)": "Layer 4: Equation 1",
            "rates = (2e-3 / 9, 2e-3 / 243)": "The embeddings: one division",
        },
    ),
    "foundations.layer_by_layer.3": (
        T + "return list(range(layers, layers - n, -1))",
        {
            T + "return list(range(n))": "from the bottom",
            T + "return list(range(layers, layers - n + 1, -1))": "one group is open already",
            T + "return list(range(layers + 1))": "top layer alone",
            T + "return [l for l in range(layers, layers - n, -1) if l > 0]": "open as well",
            T
            + "return [layers - n + 1] if step < steps else list(range(layers + 1))": "stays open",
            T + "return [layers] if step < steps else list(range(layers))": "every group is open",
            T
            + "return list(range(layers, layers - 1 - (step > 1), -1)) if step < steps else list(range(layers + 1))": "equal length",
        },
    ),
    "foundations.layer_by_layer.4": (
        S + "costs.append(3 * layers)\n    return sum(costs) / len(costs) / (3 * layers)",
        {
            S + "return sum(costs) / len(costs) / (3 * layers)": "is missing",
            S
            + "costs = [2 * layers + u - 1 for u in range(1, layers + 2)]\n    return sum(costs) / len(costs) / (3 * layers)": "price from the bottom",
            S
            + "costs.append(3 * layers)\n    return sum(costs) / len(costs)": "Divide by the cost",
            S.replace(" - q", " ")
            + "costs.append(3 * layers)\n    return sum(costs) / len(costs) / (3 * layers)": "need not leave",
            S + "costs.append(3 * layers)\n    return sum(costs) / (3 * layers)": "not the sum",
            S + "return 0.5": "full fine-tuning for the last phase",
        },
    ),
    "foundations.layer_by_layer.5": (
        M + "return (d.norm() / o.norm()).item()",
        {
            M + "return 1.0": "has not moved",
            M + "return d.norm().item()": "where the layer was",
            M + "return (d.norm() / o.norm()).item() ** 2": "Take the root",
            M
            + "return sum(((b - a).norm() / a.norm()).item() for a, b in zip(old, new)) / 2": "a mean of its tensors",
            M + "return (d.norm() / w.norm()).item()": "not to the new ones",
            M + "return (w.norm() / o.norm()).item() - 1": "of the length is not",
            M + "return 2 * (d.norm() / o.norm()).item()": "all changes together",
        },
    ),
}
