"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

T = "def torn(groups, parts):\n    where = {}\n    for g, p in zip(groups, parts):\n        where.setdefault(g, []).append(p)\n    "
D = "import torch\n\ndef doubtful(probabilities, labels, count):\n    own = probabilities[torch.arange(len(labels)), labels]\n    "
A = "def answered(sure, right, threshold):\n    kept = sure >= threshold\n    "

ANSWERS = {
    "comparison.workflow.1": (
        "answer = (32, 4)",
        {
            "answer = (16, 4)": "in two ways",
            "answer = (20, 4)": "is harmless",
            "answer = (40, 4)": "Count pairs",
            "answer = (32, 20)": "if one were enough",
            "answer = (32, 8)": "counts the texts",
            "answer = (32, 5)": "independent events",
        },
    ),
    "comparison.workflow.2": (
        T + "return sum(len(set(p)) > 1 for p in where.values())",
        {
            T + "return [g for g, p in where.items() if len(set(p)) > 1]": "The result",
            T + "return sum(len(p) > 1 for p in where.values())": "may all be on one side",
            T + "return len(where)": "is the number of groups",
            T + "return sum(len(set(p)) - 1 for p in where.values())": "counted once",
            T + "return 0": "it was not found",
            T + "return 7": "collect the set",
        },
    ),
    "comparison.workflow.3": (
        D + "return own.argsort()[:count]",
        {
            D + "return own.argsort()": "came back",
            D + "return own.argsort(descending=True)[:count]": "is surest",
            D + "return own.argsort()[:count].flip(0)": "comes first",
            D + "return own.argsort()[:count].sort().values": "order of the table",
            D + "return probabilities.amax(1).argsort()[:count]": "An unsure model",
            D + "return own.argsort()[-count:] * 0 - 1": "Take from each row",
        },
    ),
    "comparison.workflow.4": (
        A + "return kept.double().mean(), right[kept].mean()",
        {
            A + "return right[kept].mean()": "Give 2 numbers",
            A + "return (sure > threshold).double().mean(), 1.0": "at the threshold is answered",
            A + "return kept.sum(), right[kept].mean()": "not their number",
            A + "return (~kept).double().mean(), right[kept].mean()": "a person reads",
            A + "return kept.double().mean(), (right * kept).mean()": "not by all",
            A + "return kept.double().mean(), right.mean()": "without a threshold",
            A + "return kept.double().mean(), right[~kept].mean()": "that are not answered",
        },
    ),
    "comparison.workflow.5": (
        "answer = (4.9, 576)",
        {
            "answer = (0.049, 576)": "In points",
            "answer = (2.5, 576)": "standard error",
            "answer = (9.8, 576)": "the whole width",
            "answer = (1.0, 576)": "formula of step 8",
            "answer = (4.9, 288)": "root of two",
            "answer = (4.9, 432)": "how many in all",
            "answer = (4.9, 144)": "goes with one over",
        },
    ),
    "comparison.workflow.6": (
        "causes = (4, 1, 3, 2)",
        {
            "causes = (4, 4, 3, 2)": "Each cause belongs",
            "causes = (2, 1, 3, 4)": "(a) Where",
            "causes = (4, 3, 1, 2)": "(b) Something",
            "causes = (4, 1, 2, 3)": "(c) Training",
            "causes = 4": "Give 4 numbers",
        },
    ),
    "comparison.workflow.7": (
        "printed = (0, 1, 0, 1)",
        {
            "printed = (1, 1, 0, 1)": "(i) Look",
            "printed = (0, 0, 0, 1)": "(ii) Is this",
            "printed = (0, 1, 1, 1)": "(iii) Was",
            "printed = (0, 1, 0, 0)": "(iv) Not being",
            "printed = (0, 1, 2, 1)": "Give 1 or 0",
        },
    ),
}
