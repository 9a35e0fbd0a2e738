"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

L = "def left(methods, budget, merged):\n    "
S = "def survives(tables, a, b):\n    "
BOTH = "both = [t for t in tables if a in t and b in t]\n    "
D = "def share(base, adapter, tasks):\n    "

ANSWERS = {
    "comparison.choose.1": (
        "sizes = (1.573, 800)",
        {
            "sizes = (0.7864, 800)": "each with A and B",
            "sizes = (3.146, 800)": "a number has two bytes",
            "sizes = (0.06554, 800)": "that is one layer",
            "sizes = (100.66, 800)": "the matrices themselves",
            "sizes = (1, 800)": "layers × two matrices",
            "sizes = (1.573, 16)": "a model of its own",
            "sizes = (1.573, 400)": "a parameter has two bytes",
            "sizes = (1.573, 1600)": "not four",
            "sizes = (1.573, 6400)": "no gradients and no moments",
            "sizes = (1.573, 1)": "tasks × parameters",
        },
    ),
    "comparison.choose.2": (
        "billions = (9, 36)",
        {
            "billions = (12, 36)": "no gradients and moments of the base",
            "billions = (6, 36)": "the rest of the card",
            "billions = (1.125, 36)": "at 16 bytes",
            "billions = (1, 36)": "by two bytes each",
            "billions = (9, 9)": "a quarter of the bytes",
            "billions = (9, 18)": "not one",
            "billions = (9, 48)": "still needed",
            "billions = (9, 1)": "by half a byte each",
        },
    ),
    "comparison.choose.3": (
        L + "kept = [m for m in methods if m[1] <= budget and (m[2] or not merged)]\n    "
        "return [m[0] for m in sorted(kept, key=lambda m: m[1])]",
        {
            L + "return 1": "a list of names",
            L + "return [m[0] for m in methods if m[1] > budget]": "what does not fit",
            L + "return [m[0] for m in methods if m[1] < budget]": "as much as there is fits",
            L + "return [m[0] for m in methods if m[1] <= budget and m[2]]": "Nobody asked",
            L + "return []": "at most the budget",
            L + "kept = sorted((m for m in methods if m[1] <= budget), key=lambda m: -m[1])\n    "
            "return [m[0] for m in kept]": "The cheapest comes first",
            L + "return [m[0] for m in methods if m[1] <= budget]": "by its memory",
            L + "kept = sorted((m for m in methods if m[1] <= budget), key=lambda m: m[1])\n    "
            "return [m[0] for m in kept]": "what cannot be merged is out",
        },
    ),
    "comparison.choose.4": (
        S + BOTH + "return bool(both) and all(t[a] > t[b] for t in both)",
        {
            S + "return 1": "True or False",
            S + "return False": "that survives",
            S + BOTH + "return both[0][a] > both[0][b] if both else False": "turns the order round",
            S + BOTH + "return both[-1][a] > both[-1][b] if both else False": "one table is enough",
            S + "return all(a in t and b in t and t[a] > t[b] for t in tables)": "leave it out",
            S + BOTH + "return all(t[a] > t[b] for t in both)": "nothing was seen",
            S + BOTH + "return bool(both) and all(t[a] >= t[b] for t in both)": "is not ahead",
        },
    ),
    "comparison.choose.5": (
        D + "return (base + tasks * adapter) / (tasks * base)",
        {
            D + "return adapter / base": "stored too, once",
            D + "return base / (base + adapter)": "not the other way round",
            D + "return 1.0": "a little more than a full copy",
            D + "return 7.0": "and one file, by one copy",
            D + "return (base + adapter) / base": "the share must fall",
            D + "return (base + tasks * adapter) / base": "one for each task",
            D + "return (base + adapter) / base / tasks": "hold all tasks",
        },
    ),
}
