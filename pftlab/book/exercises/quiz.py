"""Five questions at the end of a chapter, each wrong answer with its own words.

A quiz is HTML with its own small script and style in the output of a cell: it works in a built
page, from a disk, in JupyterLab and in Colab, without a kernel. It is there to think with, not to
grade: the right answers are in the page, and what is chosen stays in the browser.
"""

import html
import re
from functools import cache
from pathlib import Path
from typing import Any

from .catalogue import quiz_of
from .model import Question

HERE = Path(__file__).parent


def quiz(chapter: str) -> "Quiz":
    """The quiz of a chapter, to be the last line of a cell.

    Raises:
        UnknownName: the chapter has none.
    """
    return Quiz(chapter, quiz_of(chapter))


class Quiz:
    """What `quiz` returns; a notebook shows it."""

    def __init__(self, chapter: str, questions: tuple[Question, ...]):
        self.chapter, self.questions = chapter, questions

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            lines.append(f"{number}. {question.text}")
            lines += [f"   ( ) {option.text}" for option in question.shuffled()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        title = html.escape(self.chapter)
        cards = "".join(_card(self.chapter, i, q) for i, q in enumerate(self.questions, 1))
        return (
            f'<section class="pft-quiz" data-quiz="{title}" aria-label="Quiz">'
            f"<style>{_file('quiz.css')}</style>{cards}"
            '<div class="pft-quiz-end"><p class="pft-quiz-score" role="status"></p>'
            '<button type="button" disabled data-lm-suppress-shortcuts="true">Start again</button>'
            f"</div><script>{_file('quiz.js')}</script></section>"
        )


def _card(chapter: str, number: int, question: Question) -> str:
    group = f"{chapter}.{number}"
    options = "".join(
        f'<label><input type="radio" name="{group}" data-lm-suppress-shortcuts="true"'
        f"{' data-right' if option.right else ''}><span>{_inline(option.text)}</span>"
        f"<template>{_inline(option.feedback)}</template></label>"
        for option in question.shuffled()
    )
    return (
        f"<fieldset><legend>{number}. {_inline(question.text)}</legend>{options}"
        '<p class="pft-quiz-said" aria-live="polite"></p></fieldset>'
    )


def _inline(text: str) -> str:
    """`code` and *emphasis* as HTML."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)


@cache
def _file(name: str) -> Any:
    return (HERE / name).read_text(encoding="utf-8").strip()
