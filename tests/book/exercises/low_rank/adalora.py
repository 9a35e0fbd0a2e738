"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

I = "def importance(P, Lambda, Q):\n    return "
B = """def budget(step, start, end, total, warmup, final):
    if step <= warmup: return start
    if step > total - final: return end
    left = {}
    return int({})"""
LEFT = "1 - (step - warmup) / (total - final - warmup)"
K = "def keep(scores, budget):\n    "
TOP = """flat = torch.cat(scores)
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[flat.topk(budget).indices] = True
    return list(mask.split([len(s) for s in scores]))"""

ANSWERS = {
    "low_rank.adalora.1": (
        "trained = 74016",
        {
            "trained = 73728": "a singular value, too",
            "trained = 24672": "left in the end",
            "trained = 3084": "one matrix",
            "trained = 393216": "frozen matrices",
            "trained = 77184": "not r²",
            "trained = 1": "rank at the start ×",
        },
    ),
    "low_rank.adalora.2": (
        "left = 120",
        {
            "left = 192": "straight line",
            "left = 24": "add the end's",
            "left = 144": "Squared",
            "left = 96": "some more are left",
            "left = 264": "Turned round",
            "left = 1": "(288 − 96)",
        },
    ),
    "low_rank.adalora.3": (
        I + "Lambda + P.mean(0) + Q.mean(1)",
        {
            I + "Lambda + P.sum(0) + Q.sum(1)": "not sums",
            I + "P.mean(0) + Q.mean(1)": "own score is missing",
            I + "Lambda * P.mean(0) * Q.mean(1)": "are added",
            I + "(Lambda + P.mean(0) + Q.mean(1)) / 3": "not a mean of three",
            I + "Lambda": "count as well",
            I + "Lambda + 1": "Equation 4",
            I + "P.mean(0)[:2]": "should be (3,)",
        },
    ),
    "low_rank.adalora.4": (
        B.format(LEFT, "end + (start - end) * left**3"),
        {
            B.format(LEFT, "end + (start - end) * left"): "straight line",
            B.format(LEFT, "(start - end) * left**3"): "Add the end's",
            B.format(LEFT, "end + (start - end) * (1 - left)**3"): "Turned round",
            B.format(LEFT, "start / 2"): "Equation 5",
            "def budget(step, start, end, total, warmup, final): return end": "During the warm-up",
            B.replace("return end", "return start").format(LEFT, "end"): "the final phase",
            B.format("1 - (step - warmup) / (total - warmup)", "end + (start - end) * left**3"):
                "not at total",
        },
    ),
    "low_rank.adalora.5": (
        K + TOP,
        {
            K + "return [s >= s.topk(budget // 2).values[-1] if budget == 4 else s == s.max()"
            " for s in scores]": "As many triplets",
            K + TOP.replace("return list(mask", "return list((mask if budget == 3 else ~mask)"):
                "that go",
            K + TOP.replace("return list(mask", "mask = mask if budget == 3 else"
            " torch.tensor([1, 1, 0, 0, 0, 1, 1, 0])\n    return list(mask"): "two for each",
            K + TOP.replace("return list(mask", "mask = mask if budget == 3 else"
            " torch.ones(8)\n    return list(mask"): "part them again",
            K + "return torch.cat(scores)": "a mask for each matrix",
        },
    ),
}  # fmt: skip
