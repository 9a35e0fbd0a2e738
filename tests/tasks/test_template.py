"""What a language model reads around a source, and on exactly which tokens the loss falls."""

import copy

import pytest
from datasets import Dataset

from pftlab.core.errors import BadValue
from pftlab.tasks.metrics import METRICS
from pftlab.tasks.task import Task
from pftlab.tasks.template import template_of

PAIRS = [("the cat sat", "a cat."), ("item: hat | colour: red", "the red hat was found.")]


def make(pairs=PAIRS, instruction=""):
    columns = {
        "source": [source for source, _ in pairs],
        "target": [target for _, target in pairs],
        "references": [[target] for _, target in pairs],
    }
    rows = Dataset.from_dict(columns)
    return Task(
        name="example",
        kind="generation",
        labels=(),
        metrics={"rouge_l": METRICS["rouge_l"]},
        splits={"train": rows, "test": rows},
        source="here",
        instruction=instruction,
    )


def test_a_chat_is_what_the_template_writes_and_the_answer_alone_has_loss(chat):
    task = make(instruction="Say it.")
    examples, prompts = task.encode(chat, "train"), task.prompts(chat, "train")
    for example, prompt, (source, target) in zip(examples, prompts, PAIRS, strict=True):
        turns = [{"role": "user", "content": f"Say it.\n{source}"}]
        asked = chat.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        assert prompt["input_ids"] == asked
        turns.append({"role": "assistant", "content": target})
        whole = chat.apply_chat_template(turns)["input_ids"]
        newline = chat("\n")["input_ids"]
        assert example["input_ids"] + newline == whole  # which the template writes, not the model
        learned = example["labels"][len(asked) :]
        assert example["labels"][: len(asked)] == [-100] * len(asked)
        assert learned == example["input_ids"][len(asked) :]
        assert chat.decode(learned) == f"{target}<|im_end|>"
        assert len(example["attention_mask"]) == len(example["input_ids"])
    batch = task.collate(chat)(examples)  # the end token pads too: only the real one has loss
    assert ((batch["labels"] == chat.eos_token_id).sum(1) == 1).all()


def test_plain_text_has_loss_on_target_and_end(gpt2, llama):
    for tokenizer, begin in ((gpt2, []), (llama, [llama.bos_token_id])):
        example = make(instruction="Say it.").encode(tokenizer, "train")[0]
        source, newline, target = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (PAIRS[0][0], "\n", PAIRS[0][1])
        )
        prompt, answer = [*begin, *source, *newline], [*target, tokenizer.eos_token_id]
        assert example["input_ids"] == prompt + answer
        assert example["labels"] == [-100] * len(prompt) + answer


def test_solved_examples_stand_in_front(chat, gpt2):
    task = make(instruction="Say it.")
    shots = task.shots(2, seed=3)
    assert sorted(shots) == sorted(PAIRS) and task.shots(0) == ()
    turns = []
    for source, target in shots:
        turns.append({"role": "user", "content": f"Say it.\n{source}"})
        turns.append({"role": "assistant", "content": target})
    turns.append({"role": "user", "content": f"Say it.\n{PAIRS[0][0]}"})
    asked = chat.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert task.prompts(chat, "test", shots=shots)[0]["input_ids"] == asked
    example = task.encode(chat, "test", shots=shots)[0]
    assert [i for i in example["labels"] if i != -100] == example["input_ids"][len(asked) :]
    plain = gpt2.decode(task.prompts(gpt2, "test", shots=shots)[0]["input_ids"])
    solved = "".join(f"{source}\n{target}\n\n" for source, target in shots)
    assert plain == f"{solved}{PAIRS[0][0]}\n"
    answer = [i for i in task.encode(gpt2, "test", shots=shots)[0]["labels"] if i != -100]
    assert gpt2.decode(answer) == f"{PAIRS[0][1]}\n\n"
    assert template_of(gpt2, shots=shots).stops == ("\n\n",)


@pytest.mark.parametrize("name", ["chat", "gpt2", "llama"])
def test_solved_examples_leave_the_room_as_it_is(name, request):
    tokenizer = request.getfixturevalue(name)
    task = make([("cat " * 60, "a cat."), ("dog", "a dog.")])
    alone = task.encode(tokenizer, "train", max_length=64)[0]
    shots = make().shots(1)
    behind = task.encode(tokenizer, "train", max_length=64, shots=shots)[0]
    extra = template_of(tokenizer, shots=shots).shots
    assert 60 <= len(alone["input_ids"]) <= 64  # cut to fit, and the target is whole
    assert len(behind["input_ids"]) == len(alone["input_ids"]) + extra
    assert "a cat." in tokenizer.decode([i for i in behind["labels"] if i != -100])
    with pytest.raises(BadValue, match=f"1 solved examples take {extra} tokens"):
        task.encode(tokenizer, "train", max_length=64, positions=63 + extra, shots=shots)
    assert task.encode(tokenizer, "train", max_length=64, positions=64 + extra, shots=shots)


def test_a_long_question_is_cut_and_the_template_stays_whole(chat):
    task = make([("cat " * 60, "a cat."), ("dog", "a dog.")])
    whole = task.encode(chat, "train", max_length=128)[0]["input_ids"]
    cut = task.encode(chat, "train", max_length=64)[0]["input_ids"]
    assert len(cut) == 64 < len(whole)
    text = chat.decode(cut)
    assert text.startswith("<|im_start|>system") and text.count("<|im_start|>") == 3
    assert text.endswith("cat<|im_end|>\n<|im_start|>assistant\na cat.<|im_end|>")
    around = len(task.prompts(chat, "test")[1]["input_ids"])
    with pytest.raises(BadValue, match="longest target needs"):
        task.encode(chat, "train", max_length=around)


def test_templates_that_cannot_be_right(chat):
    def templated(template):
        tokenizer = copy.deepcopy(chat)
        tokenizer.chat_template = template
        return tokenizer

    forgetful = templated("{% if add_generation_prompt %}Q{% else %}other{% endif %}")
    with pytest.raises(BadValue, match="in another way once it is answered"):
        make().encode(forgetful, "train")
    broken = templated("{{ raise_exception('no users here') }}")
    with pytest.raises(BadValue, match="no users here"):
        make().encode(broken, "train")
    # A template without an end of its own: the end-of-text token closes the answer.
    endless = templated("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    example = make().encode(endless, "train")[0]
    assert example["input_ids"][-1] == example["labels"][-1] == chat.eos_token_id


def test_solved_examples_that_cannot_be(t5, gpt2):
    with pytest.raises(BadValue, match="encoder-decoder"):
        make().encode(t5, "train", shots=make().shots(1))
    with pytest.raises(BadValue, match="between 1 and 2"):
        make().shots(3)
