"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

K = "def kendall(x, y):\n    n = len(x)\n    "
SIGNS = (
    "signs = [(x[i] > x[j]) - (x[i] < x[j]) for i in range(n) for j in range(i)]\n    "
    "other = [(y[i] > y[j]) - (y[i] < y[j]) for i in range(n) for j in range(i)]\n    "
    "both = [a * b for a, b in zip(signs, other)]\n    "
)
PEARSON = "return torch.corrcoef(torch.tensor([x, y], dtype=torch.float64))[0, 1].item()"
S = "def survives(intervals):\n    "
RUN = "seen = [pair for pair in intervals if pair is not None]\n    "
OPEN = 'return "open"'
SEEN = "if seen and all(low > 0 for low, high in seen):\n        return 'ahead'\n    "
BEHIND = "if seen and all(high < 0 for low, high in seen):\n        return 'behind'\n    "

BOTH = (
    "up = bool(seen) and all(low > 0 for low, high in seen)\n    "
    "down = bool(seen) and all(high < 0 for low, high in seen)\n    "
    'return "ahead" if up else "behind" if down else "open"'
)
M = "def moved(first, second):\n    return second.mean() - first.mean(), "

ANSWERS = {
    "comparison.all_methods.1": (
        "found = (1770, 88.5)",
        {
            "found = (3600, 88.5)": "not compared with itself",
            "found = (3540, 88.5)": "one comparison",
            "found = (59, 88.5)": "all methods against one",
            "found = (7, 88.5)": "each other one, once",
            "found = (1770, 0.05)": "that is the share",
            "found = (1770, 3)": "not the methods",
            "found = (1770, 44.25)": "in either direction",
            "found = (1770, 7)": "the level times",
        },
    ),
    "comparison.all_methods.2": (
        K + SIGNS + "return sum(both) / len(both)",
        {
            K + "return 0.0": "have 1, whatever",
            K + "return 1.0": "opposite orders",
            K + PEARSON: "not how far",
            K + SIGNS + "return sum(b > 0 for b in both) / len(both)": "have −1",
            K + SIGNS + "return sum(both) / sum(b != 0 for b in both)": "it counts zero",
            K + SIGNS + "return (sum(both) / len(both)) ** 3": "every pair of methods once",
        },
    ),
    "comparison.all_methods.3": (
        S + RUN + BOTH,
        {
            S + "return 1": '"ahead", "behind" or "open"',
            S + OPEN: "above zero: ahead",
            S + RUN + SEEN + OPEN: "below zero: behind",
            S + RUN + "middle = sum(low + high for low, high in seen)\n    "
            "return 'ahead' if middle > 0 else 'behind'": "its middle is above",
            S + "low, high = intervals[0]\n    "
            "return 'ahead' if low > 0 else 'behind' if high < 0 else 'open'": "its middle is above",
            S + RUN + "if any(low <= 0 <= high for low, high in seen):\n        return 'open'\n    "
            "return 'ahead' if seen[0][0] > 0 else 'behind'": "disagree",
            S
            + "if None in intervals:\n        return 'open'\n    "
            + RUN
            + SEEN
            + BEHIND
            + OPEN: "says nothing",
            S + RUN + SEEN.replace("seen and ", "") + BEHIND + OPEN: "nothing was seen",
            S + RUN + SEEN.replace("> 0", ">= 0") + BEHIND + OPEN: "ends at zero",
        },
    ),
    "comparison.all_methods.4": (
        M + "((first.var() + second.var()) / len(first)).sqrt()",
        {
            M.replace("second.mean() - first.mean()", "first.mean() - second.mean()")
            + "1.0": "minus the first",
            M.replace("second.mean() - ", "") + "1.0": "one mean minus",
            M + "(second - first).std() / len(first) ** 0.5": "are no pair",
            M + "(first.var() + second.var()).sqrt()": "falls with the number",
            M + "(first.var() + second.var()) / len(first)": "where is the root",
            M + "(first.std() + second.std()) / len(first) ** 0.5": "deviations do not",
            M
            + "((first.var(correction=0) + second.var(correction=0)) / len(first)).sqrt()": "Divide by S",
            M + "1.0": "variance of both means",
        },
    ),
    "comparison.all_methods.5": (
        "causes = (3, 2, 1, 4)",
        {
            "causes = (3, 3, 1, 4)": "belongs to one case",
            "causes = (1, 2, 3, 4)": "the opposite",
            "causes = (3, 1, 2, 4)": "to the last digit",
            "causes = (3, 2, 4, 1)": "which methods were left",
            "causes = (4, 2, 1, 3)": "the opposite",
        },
    ),
    "comparison.all_methods.6": (
        "printed = (1, 0, 0, 1)",
        {
            "printed = (2, 0, 0, 1)": "four sentences",
            "printed = (0, 0, 0, 1)": "zero in the interval",
            "printed = (1, 1, 0, 1)": "what does base two settle",
            "printed = (1, 0, 1, 1)": "also holds other numbers",
            "printed = (1, 0, 0, 0)": "the lower end",
        },
    ),
}
