"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

L = (
    "def layer(place, x, W, D, U):\n    f = lambda z: torch.tanh(z @ W.T)\n    "
    "norm = lambda z: torch.nn.functional.layer_norm(z, z.shape[-1:])\n    "
    "a = lambda z: torch.relu(z @ D.T) @ U.T\n    "
)
C = L + "v = x + f(x)\n    h = norm(v)\n    "
M = "def missing(z, target):\n    "
Z = "o = torch.cat([z, torch.ones(len(z), 1).double()], dim=1)\n    "
R = "left = target - (o @ torch.linalg.lstsq(o, target[:, None]).solution)[:, 0]\n    "
F = "def fold(U, u, s):\n    "


def _table(behind: str, beside: str, before: str, block: str) -> str:
    return C + (
        f"return {{'behind': {behind}, 'beside': {beside}, "
        f"'before the norm': {before}, 'behind the block': {block}}}[place]"
    )


RIGHT = ("norm(v + a(f(x)))", "norm(v + a(x))", "norm(v + a(h))", "h + a(h)")

ANSWERS = {
    "adapter.placement.1": (
        "counts = (3171840, 24576)",
        {
            "counts = (6343680, 24576)": "two in each layer",
            "counts = (132160, 24576)": "Pfeiffer: that is one",
            "counts = (3145728, 24576)": "biases are missing",
            "counts = (1572864, 24576)": "a way up",
            "counts = (5, 24576)": "and then the layers",
            "counts = (3171840, 1024)": "More: that is one layer",
            "counts = (3171840, 49152)": "has one vector",
            "counts = (3171840, 24)": "not each layer",
            "counts = (3171840, 5)": "has not",
        },
    ),
    "adapter.placement.2": (
        _table(*RIGHT),
        {
            _table("norm(v + a(x))", *RIGHT[1:]): "that is the place 'beside'",
            C + "return h": "without an adapter",
            L + "return norm(f(x) + a(f(x)))": "around f is missing",
            _table(*RIGHT[:2], "v + a(h)", RIGHT[3]): "norm is missing",
            _table(*RIGHT[:2], "norm(v + a(v))", RIGHT[3]): "the sum behind its norm",
            _table(*RIGHT[:3], "h + a(v)"): "what the block returns",
            _table(*RIGHT[:3], "norm(v + a(h))"): "that is the place 'before the norm'",
            _table(RIGHT[0], "norm(v + 2 * a(x))", *RIGHT[2:]): "its row of the table",
        },
    ),
    "adapter.placement.3": (
        F + "s = torch.as_tensor(s).double() * torch.ones_like(u)\n    return s[:, None] * U, s * u",
        {
            F + "return s * U, u": "The bias is part",
            F + "return U, s * u": "The matrix is part",
            F + "return U, u": "s is missing",
            F + "return s * s * U, s * s * u": "there twice",
            F + "return U / s, u / s": "divided by s",
            F + "return s * U": "Return two things",
            F + "return s * U, s * u": "a row of W_up",
        },
    ),
    "adapter.placement.4": (
        M + Z + R + "return (left.square().mean() / target.var(correction=0)).item()",
        {
            M + Z + R + "return (1 - left.square().mean() / target.var(correction=0)).item()":
                "not what is found",
            M + "o = z\n    " + R + "return (left.square().mean() / target.var()).item()":
                "plus a constant",
            M + Z + R + "return left.square().mean().item()": "Divide by",
            M + Z + R + "return (left.norm() / (target - target.mean()).norm()).item()":
                "not lengths",
            M + Z + R + "return (left.square().sum() / target.square().sum()).item()":
                "around the mean",
            M + Z + R + "return (left.square().mean() / 7).item()": "of what is left, divided",
        },
    ),
    "adapter.placement.5": (
        "causes = (2, 4, 3, 1)",
        {
            "causes = (1, 4, 3, 2)": "What do shapes not tell",
            "causes = (2, 1, 3, 4)": "the two counts",
            "causes = (2, 4, 1, 3)": "nothing has been learned",
            "causes = (2, 2, 3, 1)": "belongs to one run",
            "causes = (1, 2, 3, 4)": "gone after loading",
            "causes = (2, 4, 3)": "a, b, c, d",
        },
    ),
    "adapter.placement.6": (
        "printed = (0, 1, 0, 0)",
        {
            "printed = (1, 1, 0, 0)": "without a base",
            "printed = (0, 0, 0, 0)": "one side of zero",
            "printed = (0, 1, 1, 0)": "holds zero",
            "printed = (0, 1, 0, 1)": "at one rate",
            "printed = (0, 2, 0, 0)": "1 or 0",
        },
    ),
}  # fmt: skip
