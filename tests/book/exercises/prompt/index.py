"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

A = "def prefix_attention(q, K, V, PK, PV, visible):\n    keys, values = torch.cat([PK, K]), torch.cat([PV, V])\n    seen = torch.cat([torch.ones(len(PK), dtype=torch.bool), visible])\n    s = q @ keys.T / q.shape[-1] ** 0.5\n    "
M = "def decoder_mask(words, length):\n    b, t = words.shape\n    triangle = torch.ones(t, t, dtype=torch.bool).tril()\n    front = torch.ones(b, t, length, dtype=torch.bool)\n    "
G = "def gate(q, K, PK):\n    p, t = q @ PK.T / q.shape[-1] ** 0.5, q @ K.T / q.shape[-1] ** 0.5\n    "

ANSWERS = {
    "prompt.index.1": (
        "trained = (20 * 1024, 2 * 24 * 20 * 1024)",
        {
            "trained = (24 * 20 * 1024, 983040)": "once for all layers",
            "trained = (2 * 20 * 1024, 983040)": "no keys and values in it",
            "trained = (20, 983040)": "Prompt tuning: how many vectors",
            "trained = (20480, 24 * 20 * 1024)": "keys *and* values",
            "trained = (20480, 2 * 20 * 1024)": "every layer has its own",
            "trained = (20480, 1024)": "Prefix tuning: how many vectors",
        },
    ),
    "prompt.index.2": (
        "times = (1.44, 1.2)",
        {
            "times = (1.2, 1.2)": "also ask",
            "times = (1.0, 1.2)": "take part in attention",
            "times = (2, 1.2)": "each looks at each",
            "times = (1.44, 1.44)": "and do not ask",
            "times = (1.44, 1.0)": "more keys than without",
            "times = (1.44, 2)": "100 queries look at 120",
        },
    ),
    "prompt.index.3": (
        A + "return s.masked_fill(~seen, -torch.inf).softmax(-1) @ values",
        {
            A + "return s": "has shape",
            A
            + "return (q @ K.T / 2).masked_fill(~visible, -torch.inf).softmax(-1) @ V": "Where is it lost",
            A
            + "return (2 * s).masked_fill(~seen, -torch.inf).softmax(-1) @ values": "divided by √d before",
            A + "return s.softmax(0) @ values": "over the keys",
            A
            + "return (q @ K.T / 2).softmax(-1) @ V + (q @ PK.T / 2).softmax(-1) @ PV": "Two softmaxes",
            A
            + "keys, values = torch.cat([PV, K]), torch.cat([PK, V])\n    return (q @ keys.T / 2).softmax(-1) @ values": "are exchanged",
            A + "return s.softmax(-1) @ values * 2": "over prefix and words together",
            A + "return s.softmax(-1) @ values": "Padding is looked at",
            A
            + "seen = visible.all() | torch.cat([torch.zeros(len(PK), dtype=torch.bool), visible])\n    return s.masked_fill(~seen, -torch.inf).softmax(-1) @ values": "The prefix is masked out",
            A
            + "seen = torch.cat([visible, torch.ones(len(PK), dtype=torch.bool)])\n    return s.masked_fill(~seen, -torch.inf).softmax(-1) @ values": "at the wrong end",
            A
            + "seen[len(PK):] = visible if visible.all() else ~visible\n    return s.masked_fill(~seen, -torch.inf).softmax(-1) @ values": "yours is inverted",
            A
            + "seen[len(PK)] = visible.all()\n    return s.masked_fill(~seen, -torch.inf).softmax(-1) @ values": "where the mask is True",
        },
    ),
    "prompt.index.4": (
        M + "return torch.cat([front, triangle & words[:, None]], dim=-1)",
        {
            M
            + "return torch.ones(b, t + length, t + length, dtype=torch.bool)": "The prefix asks nothing",
            M
            + "return torch.cat([front, triangle & words[:, None]], dim=-1).float()": "should hold True and False",
            M + "return triangle & words[:, None]": "has shape",
            M
            + "return torch.cat([~front, triangle & words[:, None]], dim=-1)": "No word sees the prefix",
            M
            + "return torch.ones(t, length + t, dtype=torch.bool).tril() & torch.cat([front, words[:, None].expand(b, t, t)], dim=-1)": "only a part of the prefix",
            M + "return torch.cat([front, words[:, None].expand(b, t, t)], dim=-1)": "no decoder",
            M + "return torch.cat([front, triangle.expand(b, t, t)], dim=-1)": "Padding is seen",
            M
            + "return torch.cat([front, triangle & words[:, :, None]], dim=-1)": "hidden as a query",
            M + "return torch.cat([front, triangle.T & words[:, None]], dim=-1)": "comes after it",
            M
            + "return torch.cat([front, triangle.tril(-1) & words[:, None]], dim=-1)": "does not see itself",
            M
            + "return torch.cat([front, torch.ones(t, t, dtype=torch.bool).tril(length) & words[:, None]], dim=-1)": "words see ahead",
            M
            + "return torch.cat([front, (triangle & words[:, None]).flip(-1)], dim=-1)": "that are no padding",
        },
    ),
    "prompt.index.5": (
        G + "return torch.sigmoid(p.logsumexp(-1) - t.logsumexp(-1))",
        {
            G + "return torch.sigmoid(p - t.logsumexp(-1, keepdim=True))": "has shape",
            G + "return p.exp().sum(-1) * 9": "a share, between 0 and 1",
            G + "return torch.sigmoid(t.logsumexp(-1) - p.logsumexp(-1))": "share of the words",
            G
            + "return torch.sigmoid((2 * p).logsumexp(-1) - (2 * t).logsumexp(-1))": "as in attention",
            G + "return torch.full((len(q),), 3 / 8, dtype=q.dtype)": "the same for all queries",
            G + "return torch.cat([p, t], -1).softmax(-1)[:, :3].mean(-1)": "you averaged them",
            G
            + "return torch.sigmoid(p.logsumexp(-1) - t.logsumexp(-1)) / 2": "should be attention to both",
            G + "return p.exp().sum(-1) / (p.exp().sum(-1) + t.exp().sum(-1))": "exp overflows",
        },
    ),
}
