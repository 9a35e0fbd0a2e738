"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

M = "def as_cache(matrix, layers, heads):\n    p = len(matrix)\n    "
V = "parts = matrix.view(p, layers, 2, heads, -1).permute(1, 2, 3, 0, 4)\n    "
R = "return [(keys[None], values[None]) for keys, values in parts]"
E = "def errors(said, meant):\n    missing = sum(s not in said for s in meant)\n    "
W = "wrong = sum(s in said and said[s] != meant[s] for s in meant)\n    "
I = "invented = sum(s not in meant for s in said)\n    "
A = "def apart(weights, p):\n    share, rest = weights[..., :p].sum(-1), weights[..., p:]\n    "

ANSWERS = {
    "prompt.prefix_tuning.1": (
        "count = (491520, 25750016)",
        {
            "count = (245760, 25750016)": "keys *and* values",
            "count = (20480, 25750016)": "every layer has its own",
            "count = (10240, 25750016)": "a prompt at the input",
            "count = (25750016, 25750016)": "thrown away",
            "count = (1, 25750016)": "positions, width",
            "count = (491520, 25739776)": "what the network reads",
            "count = (491520, 25700352)": "both maps have a bias",
            "count = (491520, 491520)": "trains its own weights",
            "count = (491520, 13142528)": "it gives keys",
            "count = (491520, 1)": "two maps with a bias each",
        },
    ),
    "prompt.prefix_tuning.2": (
        "times = (1.1, 1.0025)",
        {
            "times = (1.0025, 1.0025)": "every text keeps a copy",
            "times = (0.1, 1.0025)": "Each its own: relative",
            "times = (1 / 1.1, 1.0025)": "with the prefix over",
            "times = (2, 1.0025)": "40 times text and prefix",
            "times = (1.1, 1)": "takes 20 positions",
            "times = (1.1, 0.0025)": "One for all: relative",
            "times = (1.1, 1.1)": "there once",
            "times = (1.1, 2)": "one prefix, over",
        },
    ),
    "prompt.prefix_tuning.3": (
        M + V + R,
        {
            M + V + "return parts": "one entry for each layer",
            M + V + "return [keys for keys, values in parts]": "is a pair",
            M + V + "return [(keys, values) for keys, values in parts]": "has shape",
            M + V + "return [(v[None], k[None]) for k, v in parts]": "keys come first",
            M + V + "return [(k[None], v[None]) for k, v in parts.flip(0)]": "reverse order",
            M
            + "parts = matrix.view(p, 2, layers, heads, -1).permute(2, 1, 3, 0, 4)\n    "
            + R: "all keys before all values",
            M
            + "parts = matrix.view(p, layers, 2, -1, heads).permute(1, 2, 4, 0, 3)\n    "
            + R: "head by head",
            M + "parts = matrix.reshape(layers, 2, heads, p, -1)\n    " + R: "mixes positions",
            M + V + "parts = 2 * parts\n    " + R: "move the position behind",
        },
    ),
    "prompt.prefix_tuning.4": (
        E + W + I + "return missing, wrong, invented",
        {
            E + W + I + "return missing + 1, wrong, invented": "says all slots and nothing",
            E + W + I + "return 0, wrong, invented": "does not have is missing",
            E + W + I + "return missing, 0, invented": "with another value is wrong",
            E + W + I + "return missing, wrong, min(invented, 1)": "count all of them",
            E
            + W
            + I
            + "return (missing, wrong, 0) if missing and wrong else (missing, wrong, invented)": "come together",
            E
            + W
            + I
            + "return (missing, wrong, invented) if said else (0, 0, 0)": "leaves out every",
            E + W + I + "return missing + wrong + invented": "Give 3 numbers",
        },
    ),
    "prompt.prefix_tuning.5": (
        A + "return share, rest / rest.sum(-1, keepdim=True)",
        {
            A + "return share": "Return two things",
            A + "return 1 - share, rest": "share of the words",
            A + "return share / p, rest": "you averaged them",
            A + "return weights[..., -p:].sum(-1), rest": "stands in front",
            A + "return 0 * share, rest": "of each query's attention",
            A + "return share, rest": "do not sum to one",
            A + "return share, rest.softmax(-1)": "second softmax",
            A + "return share, rest / rest.sum(-2, keepdim=True)": "not each key's",
            A + "return share, rest * (1 - rest.sum(-1, keepdim=True))": "what the words get",
            A + "return share, 0 * rest": "keep their ratios",
        },
    ),
    "prompt.prefix_tuning.6": (
        "cause = (3, 1, 4, 2)",
        {
            "cause = (1, 3, 4, 2)": "(a) Which fault",
            "cause = (3, 4, 1, 2)": "(b) Nothing moves",
            "cause = (3, 1, 2, 4)": "(c) Right with one",
            "cause = (3, 1, 4, 4)": "Each cause belongs",
            "cause = (3, 1, 4)": "Give 4 numbers",
        },
    ),
    "prompt.prefix_tuning.7": (
        "printed = (0, 1, 0, 1)",
        {
            "printed = (1, 1, 0, 1)": "(i) Does the interval",
            "printed = (0, 0, 0, 1)": "(ii) Look at the sign",
            "printed = (0, 1, 1, 1)": "(iii) A mean",
            "printed = (0, 1, 0, 0)": "(iv) What may",
            "printed = (0, 2, 0, 1)": "Give 1 or 0",
        },
    ),
}
