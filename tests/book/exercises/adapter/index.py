"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""


def bottleneck(
    forward="h + self.up(torch.relu(self.down(h)))",
    init="torch.nn.init.zeros_(self.up.weight); torch.nn.init.zeros_(self.up.bias)",
    bias="True",
):
    return (
        "class Bottleneck(torch.nn.Module):\n    def __init__(self, width, bottleneck):\n"
        "        super().__init__()\n"
        f"        self.down = torch.nn.Linear(width, bottleneck, bias={bias})\n"
        f"        self.up = torch.nn.Linear(bottleneck, width, bias={bias})\n"
        f"        {init}\n    def forward(self, h):\n        return {forward}"
    )


S = "def speedup(layers, highest, forward, backward):\n    full = layers * (forward + backward)\n    times = [layers * forward + (layers - n) * backward for n in range(highest + 1)]\n    "
K = "def kronecker_sum(A, S, T):\n    "
F = "def fuse(h, z, Q, K, V):\n    s = torch.einsum('td,ntd->tn', h @ Q.T, z @ K.T)\n    w = s.softmax(-1)\n    "
SUM = "torch.einsum('tn,ntd->td', w, z @ V.T)"

ANSWERS = {
    "adapter.index.1": (
        "one = 2 * 64 * 768 + 64 + 768\nadapters = (24 * one, 12 * one)",
        {
            "adapters = (24 * 2 * 64 * 768, 12 * 99136)": "Houlsby: two weight matrices",
            "adapters = (99136, 12 * 99136)": "Houlsby: that is a single",
            "adapters = (24 * (64 * 768 + 64), 12 * 99136)": "Houlsby: there is a way down",
            "adapters = (12 * 99136, 12 * 99136)": "Houlsby: how many sub-layers",
            "adapters = (1, 12 * 99136)": "Houlsby: count one adapter",
            "adapters = (24 * 99136, 24 * 99136)": "Pfeiffer: how many sub-layers",
            "adapters = (24 * 99136, 1)": "Pfeiffer: count one adapter",
        },
    ),
    "adapter.index.2": (
        "stored = (768 * 48, 4**3 + 4 * (192 + 12))",
        {
            "stored = (768 + 48, 880)": "Dense: one matrix",
            "stored = (768 * 48, 4**3 + 4 * 192 * 12)": "has rank 1",
            "stored = (768 * 48, 16 + 4 * (192 + 12))": "four first factors",
            "stored = (768 * 48, 64 + 192 + 12)": "four second factors",
            "stored = (768 * 48, 4 * (192 + 12))": "first factors are missing",
            "stored = (768 * 48, 64 + 4 * (768 + 48))": "smaller each way",
            "stored = (768 * 48, 1)": "four rows of 12",
        },
    ),
    "adapter.index.3": (
        bottleneck(),
        {
            bottleneck("self.down(h)"): "has shape",
            bottleneck(
                bias="False", init="torch.nn.init.zeros_(self.up.weight)"
            ): "their biases are not",
            bottleneck()
            .replace("Linear(width, bottleneck,", "Linear(width, 2 * bottleneck,")
            .replace("Linear(bottleneck, width,", "Linear(2 * bottleneck, width,"): "makes 59",
            bottleneck("self.up(torch.relu(self.down(h)))"): "gets around the adapter",
            bottleneck(init="pass"): "What makes the change zero",
            bottleneck(
                init="[torch.nn.init.zeros_(p) for p in self.parameters()]"
            ): "Both matrices are zero",
            bottleneck("h + self.up(self.down(h))"): "is linear in h",
            bottleneck("h + torch.tanh(self.up(self.down(h)))"): "more than 3 directions",
        },
    ),
    "adapter.index.4": (
        S + "return full / (sum(times) / len(times))",
        {
            S + "return full / times[-1] + 0.5 * (highest == 0)": "the answer is 1",
            S + "return sum(times) / len(times) / full": "share of the time",
            S + "return 1.0": "*upper* adapters",
            S + "return full / times[-1]": "not always the highest",
            S
            + "short = [(layers - n) * (forward + backward) for n in range(highest + 1)]\n    return full * len(short) / sum(short)": "still runs through every layer",
            S
            + "times = times[: max(1, highest)]\n    return full * len(times) / sum(times)": "can be drawn as well",
            S + "return sum(full / t for t in times) / len(times)": "not the ratios",
            S + "return 1 + highest / layers": "Write down the time",
        },
    ),
    "adapter.index.5": (
        K + "return sum(torch.kron(a, s @ t) for a, s, t in zip(A, S, T))",
        {
            K
            + "return torch.stack([torch.kron(a, s @ t) for a, s, t in zip(A, S, T)])": "Add up the n products",
            K + "return sum(a @ a for a in A)": "has shape",
            K + "return sum(torch.kron(s @ t, a) for a, s, t in zip(A, S, T))": "are exchanged",
            K + "return torch.kron(A[0], S[0] @ T[0])": "Only the first",
            K
            + "return sum(torch.kron(a, s @ t) for a, s, t in zip(A, S, T)) / len(A)": "not averaged",
            K + "return torch.kron(A.sum(0), torch.einsum('ncr,nrd->cd', S, T))": "in pairs",
            K
            + "return sum(torch.kron(a.T.contiguous(), s @ t) for a, s, t in zip(A, S, T))": "A was transposed",
            K + "return 2 * sum(torch.kron(a, s @ t) for a, s, t in zip(A, S, T))": "yours differs",
        },
    ),
    "adapter.index.6": (
        F + f"return {SUM}, w",
        {
            F + f"return {SUM}": "Return two things",
            F + f"return {SUM}, w.T": "The weights, one for each",
            F + f"return {SUM}, s": "Those are the scores",
            F + f"w = s.softmax(0)\n    return {SUM}, w": "over the words",
            F + f"w = (s / 8**0.5).softmax(-1)\n    return {SUM}, w": "no √d",
            F + f"w = torch.ones_like(s) / 3\n    return {SUM}, w": "whatever h is",
            F + f"w = (-s).softmax(-1)\n    return {SUM}, w": "mind the sign",
            F
            + f"w = torch.einsum('td,ntd->tn', h @ K.T, z @ Q.T).softmax(-1)\n    return {SUM}, w": "with the right M",
            F + "return torch.einsum('tn,ntd->td', w, z), w": "V is missing",
            F + f"return {SUM} + h, w": "once more",
            F + f"return 2 * {SUM}, w": "one for each adapter.",
        },
    ),
}
