"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

R = "def rounded(values, levels, block):\n    b = values.view(-1, block)\n    s = b.abs().amax(1, keepdim=True)\n    "
N = "near = levels[((b / s)[..., None] - levels).abs().argmin(-1)]\n    "
P = "def places(codes):\n    "
H = "def held(frozen, trained):\n    w = frozen * (4 + 8 / 64 + 32 / 16384) / 8\n    "

ANSWERS = {
    "low_rank.qlora.1": (
        "answer = (4.125, 8.650752)",
        {
            "answer = (4, 8.650752)": "constants take room",
            "answer = (20, 8.650752)": "serves 128 weights",
            "answer = (4.25, 8.650752)": "has 16 bits here",
            "answer = (4.125, 69.206016)": "megabits",
            "answer = (4.125, 8.25)": "a million bytes",
            "answer = (4.125, 1.0)": "The number of weights times",
        },
    ),
    "low_rank.qlora.2": (
        "causes = (3, 1, 4, 2)",
        {
            "causes = (1, 1, 4, 2)": "Each cause belongs",
            "causes = (1, 3, 4, 2)": "(a) What can",
            "causes = (3, 2, 4, 1)": "(b) The loss",
            "causes = (3, 1, 2, 4)": "(c) Good before",
            "causes = 3": "Give 4 numbers",
        },
    ),
    "low_rank.qlora.3": (
        "printed = (0, 1, 1)",
        {
            "printed = (0, 2, 1)": "Give 1 or 0",
            "printed = (1, 1, 1)": "evidence of none",
            "printed = (0, 0, 1)": "(ii) Does",
            "printed = (0, 1, 0)": "Overlap of two",
            "printed = 1": "Give 3 numbers",
        },
    ),
    "low_rank.qlora.4": (
        R + N + "return (near * s).flatten()",
        {
            R + N + "return near * s": "has shape",
            R + N + "return near.flatten()": "Multiply by the block's",
            R + "s = s.max()\n    " + N + "return (near * s).flatten()": "size of its own",
            R + "return values.clone()": "nothing was rounded",
            R + "return levels[(values[:, None] - levels).abs().argmin(1)]": "before you look",
            R + N + "return -(near * s).flatten()": "which step differs",
        },
    ),
    "low_rank.qlora.5": (
        P + "return torch.stack([codes >> 4, codes & 15], dim=-1).flatten()",
        {
            P + "return codes >> 4": "has shape",
            P + "return torch.stack([codes & 15, codes >> 4], dim=-1).flatten()": "the high half.",
            P + "return torch.cat([codes >> 4, codes & 15])": "side by side",
            P + "return codes.repeat_interleave(2)": "stands twice",
            P + "return torch.stack([codes >> 4, codes & 7], dim=-1).flatten()": "what 15 keeps",
        },
    ),
    "low_rank.qlora.6": (
        H + "return w + 16 * trained",
        {
            H + "return 8 * w + 16 * trained": "is in bits",
            H + "return w": "takes room too",
            H + "return w + 4 * trained": "two moments are missing",
            H + "return w + 12 * trained": "not three",
            H + "return frozen / 2 + 16 * trained": "Both kinds of constants",
            H + "return frozen * 4.5 / 8 + 16 * trained": "without double quantisation",
            H + "return frozen * 4.127 / 8 + 16 * trained": "is rounded",
        },
    ),
}
