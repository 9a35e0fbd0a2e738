"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""


def rank(
    need="16 * each", floor="//", frozen="parameters * bits / 8", cap="smallest", low="0", extra=""
):
    return (
        "def largest_rank(card, parameters, bits, spare, shapes):\n"
        "    each = sum(o + i for o, i in shapes)\n    smallest = min(min(s) for s in shapes)\n"
        f"    room = card - spare - {frozen}\n"
        f"    return max({low}, min({cap}, room {floor} ({need}){extra}))"
    )


D = "def change(As, Bs, s, ratio):\n    "
O = "def dora_weight(W, m, A, B, s):\n    V = W + s * B @ A\n    "

ANSWERS = {
    "low_rank.index.1": (
        "loha = (4, 16)",
        {
            "loha = (8, 16)": "fewer parameters than LoRA",
            "loha = (16, 16)": "the rank goes down",
            "loha = (5, 16)": "Set that equal",
            "loha = (4, 8)": "Ranks add up",
            "loha = (4, 4)": "a higher rank than both",
            "loha = (4, 10)": "at most the product",
        },
    ),
    "low_rank.index.2": (
        "bits = (4 + 32 / 64, 4 + 8 / 64 + 32 / (64 * 256))",
        {
            "bits = (4, 4.127)": "each block has a constant",
            "bits = (4 + 32, 4.127)": "not for one",
            "bits = (5, 4.127)": "Plain: 64 weights of 4 bits",
            "bits = (4.5, 4.5)": "themselves are in 8 bits",
            "bits = (4.5, 4 + 8 / 64)": "constants of the constants",
            "bits = (4.5, 4 + 8 / 64 + 32 / 256)": "256 *constants* share",
            "bits = (4.5, 4.2)": "Double: 4 bits, 8 bits",
        },
    ),
    "low_rank.index.3": (
        rank(),
        {
            rank(low="-9"): "the rank is negative",
            rank(frozen="0"): "even rank 1 does not fit",
            rank(need="4 * each"): "A trained number takes 16",
            rank(need="12 * each"): "4 more",
            rank(floor="/", extra=" + 0"): "a whole number",
            rank(extra=" + (room > 16 * each)"): "it does not fit",
            rank(floor="/", extra=" // 1 - (room % (16 * each) == 0)"): "would fit exactly",
            rank(need="16 * each * 2"): "pen and paper",
            rank(cap="10**9"): "saves nothing",
            rank(cap="32"): "as large as the smallest side",
        },
    ),
    "low_rank.index.4": (
        D
        + "return torch.cat([(1 + ratio) * s * Bs[-1], -ratio * s * Bs[0]], 1), torch.cat([As[-1], As[0]])",
        {
            D + "return s * Bs[-1] @ As[-1]": "Return two things",
            D
            + "return torch.cat([ratio * s * B for B in Bs], 1), torch.cat(As)": "Which terms of the sum cancel",
            D + "return (1 + ratio) * s * Bs[-1], As[-1]": "Rank r is too little",
            D
            + "return torch.cat([As[-1], As[0]]), torch.cat([Bs[-1], Bs[0]], 1)": "left has shape",
            D
            + "return torch.cat([ratio * s * Bs[-1], -ratio * s * Bs[0]], 1), torch.cat([As[-1], As[0]])": "itself is missing",
            D
            + "return torch.cat([s * Bs[-1], 0 * Bs[0]], 1), torch.cat([As[-1], As[0]])": "W does not move",
            D
            + "return torch.cat([(s + ratio) * Bs[-1], -ratio * Bs[0]], 1), torch.cat([As[-1], As[0]])": "have the scale s too",
            D
            + "return torch.cat([2 * s * Bs[-1], -s * Bs[0]], 1), torch.cat([As[-1], As[0]])": "ratio λ is missing",
            D
            + "return torch.cat([(1 - ratio) * s * Bs[-1], ratio * s * Bs[0]], 1), torch.cat([As[-1], As[0]])": "goes the other way",
            D
            + "return torch.cat([(1 + ratio) * s * Bs[-1], 0 * Bs[0]], 1), torch.cat([As[-1], As[0]])": "has to be taken away",
            D
            + "return torch.cat([(1 + ratio) * s * Bs[-1], -ratio * s * Bs[-2]], 1), torch.cat([As[-1], As[-2]])": "All steps count",
            D
            + "return torch.cat([Bs[-1], Bs[0]], 1), torch.cat([As[-1], As[0]])": "the sum of the steps",
        },
    ),
    "low_rank.index.5": (
        O + "return m[:, None] * V / V.norm(dim=1, keepdim=True)",
        {
            O + "return (m[:, None] * V / V.norm(dim=1, keepdim=True)).T": "has shape",
            O + "return m[:, None] * V": "never brought to length 1",
            O + "return V / V.norm(dim=1, keepdim=True)": "where is m",
            O + "return m[:, None] * V / V.norm(dim=0, keepdim=True)": "not of columns",
            O + "return m[:, None] * V / W.norm(dim=1, keepdim=True)": "you took W's",
            O + "return W * (m / W.norm(dim=1))[:, None] + s * B @ A": "should be m, whatever",
            O
            + "V = W + B @ A\n    return m[:, None] * V / V.norm(dim=1, keepdim=True)": "scale s is missing",
            O + "return m[:, None] * W / W.norm(dim=1, keepdim=True)": "A and B have no effect",
            O
            + "V = W - s * B @ A\n    return m[:, None] * V / V.norm(dim=1, keepdim=True)": "the directions should be",
        },
    ),
}
