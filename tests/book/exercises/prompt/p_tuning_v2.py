"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

P = "def prompts(E, W1, b1, W2, b2, layers):\n    "
OUT = "out = torch.tanh(E @ W1.T + b1) @ W2.T + b2\n    "
TURNED = ".view(len(E), layers, 2, -1).permute(1, 2, 0, 3)"
K = "def keys(K, prompts, owners):\n    "
L = "def loss(logits, tags, first):\n    each = -logits.log_softmax(-1).gather(-1, tags[..., None])[..., 0]\n    "

ANSWERS = {
    "prompt.p_tuning_v2.1": (
        "numbers = (3072 + 512 * 256 + 256 + 256 * 16384 + 16384, 98304)",
        {
            "numbers = (512 * 256 + 256 + 256 * 16384 + 16384, 98304)": "network reads are trained",
            "numbers = (3072 + 512 * 256 + 256 * 16384, 98304)": "has a bias",
            "numbers = (3072 + 512 * 256 + 256 + 256 * 16384 + 16384 + 98304, 98304)": "computed",
            "numbers = (98304, 98304)": "what the network gives",
            "numbers = (1, 98304)": "two linear layers",
            "numbers = (4345088 + 3072 - 3072, 49152)": "keys and values",
            "numbers = (4345088, 6144)": "every layer has its own",
            "numbers = (4345088, 4345088)": "done its work",
            "numbers = (4345088, 1)": "each place in each layer",
        },
    ),
    "prompt.p_tuning_v2.2": (
        P + OUT + "return out" + TURNED,
        {
            P + OUT + "return out.reshape(layers, 2, len(E), -1)": "The order",
            P + OUT + "return out" + TURNED + ".flip(1)": "before values",
            P + OUT + "return out" + TURNED + ".transpose(0, 1)": "Layers come before",
            P + "out = torch.relu(E @ W1.T + b1) @ W2.T + b2\n    return out" + TURNED: "a tanh",
            P + "out = (E @ W1.T + b1) @ W2.T + b2\n    return out" + TURNED: "not linear stands",
            P + "out = torch.tanh(E @ W1.T) @ W2.T\n    return out" + TURNED: "have a bias",
            P + OUT + "return 2 * out" + TURNED: "with its axes turned",
        },
    ),
    "prompt.p_tuning_v2.3": (
        K + "return torch.cat([prompts[owners], K], 1)",
        {
            K + "return torch.cat([K, prompts[owners]], 1)": "in front of",
            K + "return torch.cat([prompts[:1].expand(len(K), -1, -1), K], 1)": "of its task",
            K + "return torch.cat([prompts.mean(0).expand(len(K), -1, -1), K], 1)": "not a mean",
            K + "return torch.cat([prompts[sorted(owners)], K], 1)": "not of the tasks",
            K + "return torch.cat([2 * prompts[owners], K], 1)": "its owner names",
        },
    ),
    "prompt.p_tuning_v2.4": (
        L + "return each[first].mean()",
        {
            L + "return each.mean()": "first piece of a word",
            L + "return each[first].sum()": "not a sum",
            L
            + "return torch.stack([e[f].mean() for e, f in zip(each, first)]).mean()": "counts the same",
            L + "return (each * first).mean()": "number of words",
            L + "return -each[first].mean()": "The sign",
            L + "return each[first]": "single number",
            L + "return 2 * each[first].mean()": "where `first` is True",
        },
    ),
    "prompt.p_tuning_v2.5": (
        "causes = (3, 1, 4, 2)",
        {
            "causes = (1, 3, 4, 2)": "(a) Training",
            "causes = (3, 4, 1, 2)": "(b) Both",
            "causes = (3, 1, 2, 4)": "(c) The outputs",
            "causes = (3, 3, 4, 2)": "one run",
            "causes = (1, 2, 3, 4)": "(a) Training",
        },
    ),
    "prompt.p_tuning_v2.6": (
        "printed = (1, 0, 0, 1)",
        {
            "printed = (0, 0, 0, 1)": "(i) Does",
            "printed = (1, 1, 0, 1)": "(ii) Which",
            "printed = (1, 0, 1, 1)": "(iii) An interval",
            "printed = (1, 0, 0, 0)": "(iv) Both",
            "printed = (1, 0, 0, 2)": "Give 1 or 0",
        },
    ),
}
