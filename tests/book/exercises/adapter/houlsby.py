"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

W = "def widest(layers, d, budget):\n    "
A = "gelu = torch.nn.functional.gelu\ndef adapter(h, down, a, up, b):\n    z = h @ down.T + a\n    "
D = "def deviation(d, m, size):\n    "

ANSWERS = {
    "adapter.houlsby.1": (
        W + "return (budget // (2 * layers) - d) // (2 * d + 1)",
        {
            W + "return (budget // layers - d) // (2 * d + 1)": "two adapters in a layer",
            W + "return (budget // 2 - d) // (2 * d + 1)": "for all layers",
            W + "return (budget // (2 * layers) - d) // (2 * d + 1) + 1": "round down",
            W + "return (budget // (2 * layers) - d) // (2 * d + 1) - 1": "still fit",
            W + "return (budget / (2 * layers) - d) / (2 * d + 2)": "whole number",
            W + "return 1000": "Solve 2 L",
        },
    ),
    "adapter.houlsby.2": (
        A + "return h + gelu(z) @ up.T + b",
        {
            A + "return gelu(z) @ up.T + b": "skip connection is missing",
            A + "return h + z @ up.T + b": "non-linearity is missing",
            A + "return h + gelu(z) @ up.T": "bias of the way up",
            A + "return h + gelu(z - a) @ up.T + b": "bias of the way down",
            A + "return h + gelu(z @ up.T + b)": "not behind",
            A + "return gelu(h) + gelu(z) @ up.T + b": "passes no non-linearity",
            A + "return gelu(z)": "has shape",
            A + "return h + torch.relu(z) @ up.T + b": "Equation 1",
        },
    ),
    "adapter.houlsby.3": (
        D + "return (2 * size / (0.774 * (d * m) ** 0.5)) ** 0.5",
        {
            D + "return 2 * size / (0.774 * (d * m) ** 0.5)": "the variance",
            D + "return (size / (0.774 * (d * m) ** 0.5)) ** 0.5": "GELU halves",
            D + "return (2 * size / (d * m) ** 0.5) ** 0.5": "is cut off",
            D + "return (2 * size / (0.774 * d * m)) ** 0.5": "The root of d",
            D + "return size": "Solve Equation 2",
        },
    ),
    "adapter.houlsby.4": (
        "moved = (2, 4)",
        {
            "moved = (1, 4)": "if both matrices are zero",
            "moved = (4, 4)": "has to pass W_up",
            "moved = (3, 4)": "or neither",
            "moved = (0, 4)": "have W_up as a factor",
            "moved = (2, 2)": "W_up has moved",
            "moved = (2, 1)": "goes on",
            "moved = (2, 3)": "open together",
            "moved = (2, 0)": "nothing stands in the way",
        },
    ),
    "adapter.houlsby.5": (
        "causes = (2, 4, 1, 3)",
        {
            "causes = (2, 2, 1, 3)": "belongs to one run",
            "causes = (4, 2, 1, 3)": "before any step",
            "causes = (2, 1, 4, 3)": "the way was not",
            "causes = (2, 4, 3, 1)": "three of four gradients",
            "causes = (2, 3, 1, 4)": "the way was not",
        },
    ),
    "adapter.houlsby.6": (
        "printed = (0, 1, 1, 0)",
        {
            "printed = (1, 1, 1, 0)": "does not prove equality",
            "printed = (0, 0, 1, 0)": "says no more than that",
            "printed = (0, 1, 0, 0)": "lies above zero",
            "printed = (0, 1, 1, 1)": "needs an intervention",
            "printed = (0, 1, 1, 2)": "1 or 0",
        },
    ),
}
