"""Reference answers and typical wrong ones: {exercise: (reference, {wrong answer: its message})}."""

K = "def key_of(name, adapter):\n    "
W = "def with_prompt(labels, length):\n    "
U = "def unmatched(paths, targets):\n    "
FRONT = "front = torch.full((len(labels), length), -100)\n    "
BEHIND = "('lora_A', 'lora_B', 'modules_to_save')"
PARTS = "parts = name.split('.')\n    "

ANSWERS = {
    "appendix.peft_library.1": (
        "trained = (148994, 147456)",
        {
            "trained = (147456, 147456)": "PEFT counts it",
            "trained = (150532, 147456)": "twice in the total",
            "trained = (148992, 147456)": "has a bias",
            "trained = (1, 147456)": "with its bias",
            "trained = (148994, 148994)": "named apart",
            "trained = (148994, 73728)": "Here: two matrices",
            "trained = (148994, 12288)": "that is one layer",
            "trained = (148994, 1)": "Here: A and B",
        },
    ),
    "appendix.peft_library.2": (
        "numbers = (14787840, 552960)",
        {
            "numbers = (14764800, 552960)": "that the network reads are missing",
            "numbers = (14768640, 552960)": "both maps have",
            "numbers = (552960, 552960)": "without a network",
            "numbers = (15340800, 552960)": "computed, not trained",
            "numbers = (1, 552960)": "and the two maps",
            "numbers = (14787840, 14787840)": "the network stays behind",
            "numbers = (14787840, 276480)": "keys *and* values",
            "numbers = (14787840, 46080)": "Saved: that is one layer",
            "numbers = (14787840, 23040)": "stays behind, too",
            "numbers = (14787840, 1)": "of each layer for 30",
        },
    ),
    "appendix.peft_library.3": (
        K
        + PARTS
        + f"kept = [p for i, p in enumerate(parts) if not (i and parts[i - 1] in {BEHIND})]\n"
        + "    return '.'.join(p for p in kept if p != 'modules_to_save')",
        {
            K + "return name": "is still there",
            K + "return name.replace(adapter, '')": "Two dots in a row",
            K + "return name.replace('.' + adapter, '')[17:]": "base_model.model. stays",
            K + "return name.replace('.' + adapter, '') + '.bias'": "stay, in their order",
            K + "return name.replace('.' + adapter, '')": "left out as well",
            K
            + "out = name.replace('.' + adapter, '').replace('.modules_to_save', '')\n"
            + "    return out.replace('bias', 'weight')": "nothing else",
            K
            + "return name.replace('.' + adapter, '').replace('.modules_to_save', '')": "like a module",
            K + "return None": "should be a text",
        },
    ),
    "appendix.peft_library.4": (
        W + FRONT + "return torch.cat([front, labels], 1)",
        {
            W + "return labels": "each place of the prompt",
            W + FRONT + "return torch.cat([labels, front], 1)": "so its labels do",
            W + FRONT + "return torch.cat([0 * front, labels], 1)": "0 is a token",
            W + FRONT + "return torch.cat([front // 100, labels], 1)": "and not -1",
            W + FRONT + "return torch.cat([front, labels], 1).float()": "whole numbers",
            W + FRONT + "return torch.cat([front, 0 * labels - 100], 1)": "keep their labels",
            W + FRONT + "return torch.cat([front - 1, labels], 1)": "First the prompt's places",
        },
    ),
    "appendix.peft_library.5": (
        U
        + "fits = lambda t: any(p == t or p.endswith('.' + t) for p in paths)\n"
        + "    return [t for t in targets if not fits(t)]",
        {
            U + "return targets": "nothing is left",
            U + "return []": "valeu matches nothing",
            U
            + "return [t for t in targets if not any(p.endswith('.' + t) for p in paths)]": "that *is*",
            U
            + "return [t for t in targets if t not in {p.split('.')[-1] for p in paths}]": "several parts",
            U
            + "return [t for t in targets if not any(p.endswith(t) for p in paths)]": "half a name",
            U
            + "return [t for t in targets if not any('.' + t in '.' + p for p in paths)]": "must *end*",
            U
            + "return sorted(t for t in targets if not any(('.' + p).endswith('.' + t) for p in paths))": "Keep the order",
            U + "return None": "Return a list",
        },
    ),
}
