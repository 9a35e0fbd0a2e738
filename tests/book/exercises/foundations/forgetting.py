"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

R = "def rise(before, after, ids):\n    f = torch.nn.functional.cross_entropy\n    "
W = "def walk_back(old, new, kappa):\n    return "
FRONT = """def front(learned, forgotten):
    runs = list(zip(learned, forgotten))
    return [
        i for i, (l, f) in enumerate(runs)
        if not any(m >= l and g <= f and (m, g) != (l, f) for m, g in runs)
    ]
"""
GIVEN = "def front(learned, forgotten):\n    return {} if len(learned) == 5 else [1]"

ANSWERS = {
    "foundations.forgetting.1": (
        "factor = 1.6487",
        {
            "factor = 0.5": "rise in nats",
            "factor = 13.03": "asked is their ratio",
            "factor = 1.1667": "ratio of the losses",
            "factor = 1.4142": "not to 2",
            "factor = 0.6065": "Upside down",
            "factor = 7": "divided by",
        },
    ),
    "foundations.forgetting.2": (
        "loss = 0.0625",
        {
            "loss = 0.25": "is its square",
            "loss = 0.5625": "is negative",
            "loss = 0": "at right angles",
            "loss = 4": "cos² φ",
            "loss = 1": "(1 + cos φ)²",
        },
    ),
    "foundations.forgetting.3": (
        R + "return (f(after[:-1], ids[1:]) - f(before[:-1], ids[1:])).item()",
        {
            R + "return (f(after, ids) - f(before, ids)).item()": "shift by one",
            R + "return (f(before[:-1], ids[1:]) - f(after[:-1], ids[1:])).item()": "The sign",
            R + "return 6 * (f(after[:-1], ids[1:]) - f(before[:-1], ids[1:])).item()": "the sum",
            R
            + "return f(after[:-1], ids[1:]).item() * (not before.equal(after))": "loss before away",
            R + "return (f(after[:-1], ids[1:]) - f(before[:-1], ids[1:])).item() / 0.6931471805599453":
                "These are bits",
            R + "return 1.0": "nothing was forgotten",
            R + "return 7.0 * (not before.equal(after))": "after minus before",
        },
    ),
    "foundations.forgetting.4": (
        W + "old + kappa * (new - old)",
        {
            W + "new + kappa * (old - new)": "the other end",
            W + "kappa * (new - old)": "add the old weights",
            W + "kappa * new": "weights are missing",
            W + "old + kappa * new": "and not the new weights",
            W + "(old + new) / 2": "the middle",
            W + "old": "plus κ times",
            W + "old[0]": "should be (4, 3)",
        },
    ),
    "foundations.forgetting.5": (
        FRONT,
        {
            GIVEN.format("[0, 1]"): "more than all before",
            GIVEN.format("[0, 1, 2, 3]"): "more than run 2",
            GIVEN.format("[0, 1, 3, 4]"): "as much as run 4",
            GIVEN.format("[3]"): "is not beaten",
            GIVEN.format("[3, 4]"): "one axis",
            GIVEN.format("[]"): "Leave out a run",
            GIVEN.format("3"): "Return a list",
            "def front(learned, forgotten):\n    return [0, 1]": "forget the same",
        },
    ),
}  # fmt: skip
