"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

F = "def fisher(W, X, y):\n    d = (X @ W.T).softmax(-1) - torch.eye(len(W), dtype=W.dtype)[y]\n    each = d[:, :, None] * X[:, None, :]\n    "
M = "def fish_mask(scores, keep):\n    flat = torch.cat([s.flatten() for s in scores])\n    "
BACK = "return [p.view_as(s) for p, s in zip(m.split([s.numel() for s in scores]), scores)]"
TOP = "m = torch.zeros(len(flat), dtype=torch.bool)\n    m[flat.topk(keep).indices] = True\n    "
S = "def nearest(start, goal, raw):\n    Q = torch.linalg.qr(raw).Q\n    way = goal - start\n    "

ANSWERS = {
    "sparse.index.1": (
        "d = 768\nbitfit = (11 * d, 100 * 11 * d / (12 * d * d + 13 * d))",
        {
            "bitfit = (9 * 768, 0.119)": "layer norms have one each",
            "bitfit = (13 * 768, 0.119)": "gains of the layer norms",
            "bitfit = (8 * 768, 0.119)": "is 4 d wide",
            "bitfit = (12 * 11 * 768, 0.119)": "one layer is asked",
            "bitfit = (1, 0.119)": "four maps of the attention",
            "bitfit = (8448, 0.00119)": "a hundred times",
            "bitfit = (8448, 5)": "of all parameters of the layer",
        },
    ),
    "sparse.index.2": (
        "file = (4.0, 0.5)",
        {
            "file = (2.0, 0.5)": "places have to be stored",
            "file = (4e6, 0.5)": "that is in bytes",
            "file = (400, 0.5)": "only what is trained",
            "file = (1, 0.5)": "half a million",
            "file = (4, 1)": "twice as large by then",
            "file = (4, 50)": "a share between",
            "file = (4, 0.1)": "against four for all",
        },
    ),
    "sparse.index.3": (
        F + "return each.square().mean(0)",
        {
            F + "return each.square()": "the mean over the examples is missing",
            F + "return each.mean(0)": "nothing can be negative",
            F + "return each.square().mean(0).T": "has shape",
            F + "return each.mean(0).square()": "Square each, then average",
            F + "return each.square().sum(0)": "the definition has a mean",
            F + "return each.abs().mean(0)": "Absolute values",
            F
            + "p = (X @ W.T).softmax(-1)\n    return torch.einsum('nk,nd->kd', p * (1 - p), X * X) / len(X)": "true Fisher",
            F + "return each.square().mean(0).sqrt()": "A root too many",
            F
            + "return ((X @ W.T).softmax(-1)[:, :, None] * X[:, None]).square().mean(0)": "a single example",
        },
    ),
    "sparse.index.4": (
        M + TOP + BACK,
        {
            M + TOP + "return m": "a mask for each tensor",
            M + TOP + "return list(m.split([s.numel() for s in scores]))": "has shape",
            M + TOP + "m = m.double()\n    " + BACK: "hold True and False",
            M
            + "m = torch.zeros(len(flat), dtype=torch.bool)\n    m[(-flat).topk(keep).indices] = True\n    "
            + BACK: "the lowest scores",
            M + TOP + "m = ~m\n    " + BACK: "inverted",
            M + "m = flat >= flat.sort(descending=True).values[keep]\n    " + BACK: "One too many",
            M
            + "m = torch.cat([s.flatten() >= s.flatten().sort(descending=True).values[max(1, keep // 3) - 1] for s in scores])\n    "
            + BACK: "Every tensor gets a share",
            M + "m = torch.arange(len(flat)) < keep\n    " + BACK: "over all tensors together",
            M
            + "m = flat >= flat.sort(descending=True).values[keep - 1]\n    "
            + BACK: "cannot cut between",
        },
    ),
    "sparse.index.5": (
        S + "return start + Q @ (Q.T @ way)",
        {
            S + "return Q.T @ way": "coordinates in the subspace",
            S + "return (start + Q @ (Q.T @ way))[None]": "has shape",
            S + "return Q @ (Q.T @ way)": "goes through θ₀",
            S + "return goal": "not θ₀ plus",
            S + "return start + raw @ (raw.T @ way)": "projects only if",
            S
            + "U = raw / raw.norm(dim=0)\n    return start + U @ (U.T @ way)": "not yet orthogonal",
            S + "return start + Q @ (Q.T @ goal)": "not the goal.",
            S + "return start - Q @ (Q.T @ way)": "away from the goal",
            S + "return start": "orthogonal to every column",
        },
    ),
}
