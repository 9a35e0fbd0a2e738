"""Which chapters have exercises, and where."""

from importlib import import_module
from types import ModuleType

from ...core.errors import UnknownName
from .model import Exercise, Question

CHAPTERS = {  # in the order of the book
    "foundations.bill": "The bill",
    "foundations.base_models": "Base models",
    "foundations.finetuning": "Fine-tuning",
    "foundations.layer_by_layer": "Layer by layer",
    "foundations.fair_comparison": "Fair comparison",
    "foundations.forgetting": "Forgetting",
    "adapter.index": "Adapters",
    "adapter.houlsby": "Houlsby adapters",
    "adapter.placement": "Where an adapter stands",
    "adapter.adapter_drop": "AdapterDrop",
    "prompt.index": "Prompts",
    "prompt.prompt_tuning": "Prompt tuning",
    "prompt.prefix_tuning": "Prefix tuning",
    "prompt.p_tuning": "P-tuning",
    "prompt.p_tuning_v2": "P-tuning v2",
    "low_rank.lora": "LoRA",
    "low_rank.adalora": "AdaLoRA",
    "low_rank.qlora": "QLoRA",
    "low_rank.lora_fa": "LoRA-FA",
    "low_rank.delta_lora": "Delta-LoRA",
    "low_rank.index": "Low rank",
    "sparse.index": "Sparse",
    "sparse.bitfit": "BitFit",
    "sparse.masks": "Masks",
    "sparse.said": "Intrinsic dimension",
    "others.index": "Others",
    "others.ia3": "(IA)³",
    "others.loreft": "LoReFT",
    "others.hybrids": "Hybrids",
    "language_models.instruction_tuning": "Instruction tuning",
    "language_models.serving": "Serving",
    "comparison.all_methods": "All methods compared",
    "comparison.choose": "Choosing a method",
    "comparison.workflow": "From data to deployment",
    "appendix.peft_library": "The PEFT library",
    "appendix.often_said": "Often said",
}


def chapters() -> tuple[str, ...]:
    """The chapters with exercises, as "family.chapter"."""
    return tuple(CHAPTERS)


def title_of(chapter: str) -> str:
    """A word or two for the chapter."""
    return CHAPTERS[chapter]


def data_of(chapter: str) -> ModuleType:
    """The module that holds the exercises of a chapter.

    Raises:
        UnknownName: the chapter has no exercises.
    """
    if chapter not in CHAPTERS:
        raise UnknownName("chapter", chapter, CHAPTERS)
    return import_module(f"{__package__}.{chapter}")


def exercises_of(chapter: str) -> tuple[Exercise, ...]:
    """The exercises of a chapter, in order.

    Raises:
        UnknownName: the chapter has no exercises.
    """
    return data_of(chapter).EXERCISES


def checked(chapter: str) -> tuple[Exercise, ...]:
    """Those of them that can be checked, and graded: all but the open ones.

    Raises:
        UnknownName: the chapter has no exercises.
    """
    return tuple(e for e in exercises_of(chapter) if e.stages)


def quiz_of(chapter: str) -> tuple[Question, ...]:
    """The questions of a chapter's quiz, in order.

    Raises:
        UnknownName: the chapter has no quiz.
    """
    return data_of(chapter).QUIZ


def exercise(name: str) -> Exercise:
    """The exercise of this name, such as "low_rank.lora.3".

    Raises:
        UnknownName: there is none that can be checked.
    """
    chapter = name.rpartition(".")[0]
    known = {e.name: e for c in CHAPTERS if c == chapter or chapter not in CHAPTERS
             for e in checked(c)}  # fmt: skip
    if name not in known:
        raise UnknownName("exercise", name, known)
    return known[name]
