"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

P = "def paired(a, b, t):\n    "
H = "def holm(p):\n    "
E = "def expected_best(scores, k):\n    from itertools import combinations, product\n    "
D = "d = a - b\n    "
ORDER = "order = sorted(range(len(p)), key=lambda i: p[i])\n    "
FOUND = "found = [False] * len(p)\n    "

ANSWERS = {
    "foundations.fair_comparison.1": (
        "interval = (3, 4.303 * 2 / 3**0.5)",
        {
            "interval = (9, 4.97)": "that is the sum",
            "interval = (4, 4.97)": "divide by 3",
            "interval = (3, 1.96 * 2 / 3**0.5)": "two degrees of freedom",
            "interval = (3, 4.303 * 2)": "for one more seed",
            "interval = (3, 4.303 * 2 / 3)": "divides by the root of S",
            "interval = (3, 4.057)": "S − 1, not by S",
            "interval = (3, 9.94)": "the whole width",
            "interval = (3, 1)": "deviation over √S",
        },
    ),
    "foundations.fair_comparison.2": (
        "points = (2.479, 1.517)",
        {
            "points = (1.265, 1.517)": "1.96 of it",
            "points = (0.02479, 1.517)": "not shares",
            "points = (78.4, 1.517)": "how many texts",
            "points = (4.958, 1.517)": "half of the interval is asked",
            "points = (1, 1.517)": "a coin of share",
            "points = (2.479, 3.506)": "takes the two for independent",
            "points = (2.479, 2.479)": "on which the two disagree",
            "points = (2.479, 0.6167)": "60 disagreements count",
            "points = (2.479, 1)": "for a share of 0.06",
        },
    ),
    "foundations.fair_comparison.3": (
        P + D + "return d.mean().item(), (t * d.std() / len(d) ** 0.5).item()",
        {
            P + D + "return -d.mean().item(), 1.0": "wrong sign",
            P + D + "return d.sum().item(), 1.0": "that of a − b",
            P + D + "return d.mean().item(), (t * ((a.var() + b.var()) / len(d)) ** 0.5).item()":
                "the unpaired interval",
            P + D + "return d.mean().item(), (t * d.std(correction=0) / len(d) ** 0.5).item()":
                "S − 1 in the variance",
            P + D + "return d.mean().item(), (t * d.std()).item()": "varies less than one of them",
            P + D + "return d.mean().item(), (t * d.var() / len(d)).item()": "where is the root",
            P + D + "return d.mean().item(), 2.0": "deviation of a − b over",
        },
    ),
    "foundations.fair_comparison.4": (
        H + FOUND + ORDER + "for n, i in enumerate(order):\n        "
        "if p[i] >= 0.05 / (len(p) - n):\n            break\n        found[i] = True\n    "
        "return found",
        {
            H + "return True": "a list of 5 truths",
            H + "return [x < 0.05 for x in p]": "no correction",
            H + "return [x < 0.05 / len(p) for x in p]": "grow milder",
            H + FOUND + ORDER + "for n, i in enumerate(order):\n        "
            "if p[i] >= 0.05 / (len(p) - n):\n            break\n        found[n] = True\n    "
            "return found": "the order of the sorted",
            H + FOUND + ORDER + "for n, i in enumerate(order):\n        "
            "found[i] = p[i] < 0.05 / (len(p) - n)\n    "
            "return found": "After the first that fails",
            H + FOUND + ORDER + "for n, i in enumerate(order):\n        "
            "if p[i] >= 0.05 / (len(p) - n):\n            break\n        found[i] = True\n    "
            "return [not x for x in found]": "say that the difference counts",
            H + "return [False] * len(p)": "undo the sorting",
        },
    ),
    "foundations.fair_comparison.5": (
        E + "every = [max(some) for some in combinations(scores, k)]\n    "
        "return sum(every) / len(every)",
        {
            E + "return sum(scores) / len(scores)": "the best of them is known",
            E + "return 0.0": "the answer is the maximum",
            E + "return sum(sorted(scores)[-k:]) / k if k < 5 else max(scores)":
                "Nobody knows beforehand",
            E + "return max(scores) if k != 1 else sum(scores) / 5": "and k of them are tried",
            E + "every = [max(some) for some in product(scores, repeat=k)]\n    "
            "return sum(every) / len(every) if k < 5 else max(scores)": "no rate is drawn twice",
            E + "return max(scores) if k == 5 else 1.0": "over all sets of k",
        },
    ),
}  # fmt: skip
