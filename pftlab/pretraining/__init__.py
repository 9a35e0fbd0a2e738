"""The recipe of the book's base models, a BERT-like encoder and a GPT-2-like decoder.

    python -m pftlab.pretraining prepare --out runs --corpus text --teacher MiniLM
    python -m pftlab.pretraining encoder --out runs --held-out held.jsonl --teacher MiniLM
    python -m pftlab.pretraining decoder --out runs2 --prepared runs --held-out held.jsonl
    python -m pftlab.pretraining measure --start runs --held-out held.jsonl
    python -m pftlab.pretraining ladder --out ladder --corpus text --held-out held.jsonl

`--start FOLDER` goes on from the models that an earlier run left in that folder. Each model keeps
its history beside its weights (`bases/history.py`), from which its card is written
(`bases/model_card.py`).

`preparation.py` makes a corpus of texts, `objectives.py` cuts batches from it, `students.py` has
the models and their losses, `recipe.py` trains them, `held_out.py` measures them. `ladder.py`
trains models of growing size, and encoder-decoders, for experiments on scale.

**Encoder.** Masked language modelling (Devlin et al., 2019), plus distillation from a sentence
encoder (as in Sun et al., 2020; Jiao et al., 2020). Without a teacher, a small model stays on a
plateau for a thousand steps and its fine-tuning hardly beats random weights. The teacher reads the
unmasked text; the student, which sees part of it masked, learns to give

* for every token, the teacher's states of the same piece of text (two layers of it, linearly), and
* in its pooled output, the teacher's mean state of the whole stretch: so the pooler is trained, and
  a linear probe reads meaning from the start.

Two kinds of batches alternate: short rows (a sentence, or a phrase from anywhere; half of them
unmasked) and long rows of two segments. Every second one has its text rewritten as lower-cased,
word-by-word tokenised data sets have it.

**Decoder.** Next-token prediction on rows cut anywhere from the corpus.

**Encoder-decoder** (in the ladder). Span corruption (Raffel et al., 2020) on rows of 284 tokens,
and from there LM adaptation (Lester et al., 2021): text goes in, its continuation comes out.

All: AdamW, warm-up and a linear decay to zero (which makes a moving average of the weights
superfluous), no dropout, bfloat16 with float32 weights, torch.compile, the corpus resident on the
device. All sizes are trained side by side on the same batches: the teacher reads each batch once.
Ctrl-C writes a checkpoint and ends. A run that ended early, or was killed, resumes from its last
checkpoint with the same batches, as each step seeds its own random numbers; on one CPU the result
is the same to the bit, on a GPU up to the order of sums.
"""
