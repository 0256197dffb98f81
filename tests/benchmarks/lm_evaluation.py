"""Compare our scores of HellaSwag's items with lm-eval's, one by one, and the time that each takes, on one
thread: OMP_NUM_THREADS=1 TINYLM_DATA=../shared/data python tests/benchmarks/lm_evaluation.py [--record NAME]

lm-eval is no part of the course. It gets an environment of its own, with the course's pins of what both use:

    python -m venv lm_eval_env
    grep -E '^(torch|numpy|tiktoken|tokenizers|regex|pyarrow|datasets|safetensors|filelock)==' \\
        requirements.txt > pins.txt
    lm_eval_env/bin/pip install -r pins.txt requests tqdm tyro huggingface_hub lm-eval==0.4.13

It is called through the smallest wrapper that it accepts, one request at a time. Both do the same: contexts
and endings become tokens, a model scores them, accuracies are counted. Our scoring and lm-eval's
`simple_evaluate` are timed in turns.
"""

import json
import logging
import os
import statistics
from pathlib import Path

import numpy as np
import torch
from benchmark import UNKEPT, in_turns, open_record, options, report

from tinylm.inference.choices import score_choices
from tinylm.runs import paths
from tinylm.runs.records import versions
from tinylm.text import corpora
from tinylm.text.choices import read_hellaswag

METRICS = {"acc": "ending", "acc_norm": "character"}


def task(path):
    """HellaSwag as lm-eval has it, on local items."""
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in METRICS]
    return {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(path)}},
        "output_type": "multiple_choice",
        "validation_split": "validation",
        "test_split": None,
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{gold}}",
        "doc_to_choice": "choices",
        "metric_list": metrics,
    }


def smallest(model, tokenizer):
    """Return the smallest wrapper of a model that lm-eval accepts."""
    from lm_eval.api.model import LM

    class Smallest(LM):
        def loglikelihood(self, requests):
            found = []
            for request in requests:
                context, ending = request.args
                ids = torch.from_numpy(tokenizer.encode(context + ending))  # (T,)
                n = len(tokenizer.encode(context))
                with torch.no_grad():
                    log_p = model(ids[None, :-1])[0, n - 1 :].log_softmax(-1)  # (T - n, V)
                scores = log_p.gather(1, ids[n:, None])
                found.append((float(scores.sum()), bool((log_p.argmax(-1) == ids[n:]).all())))
            return found

        def loglikelihood_rolling(self, requests):
            raise NotImplementedError

        def generate_until(self, requests):
            raise NotImplementedError

    return Smallest()


def main():
    chosen = options(
        __doc__,
        checkpoint=("tinystories_fast", "whose scores"),
        items=(1000, "of HellaSwag, the first ones"),
        rounds=(5, "turns that count"),
    )
    os.environ["HF_HUB_OFFLINE"] = "1"
    import lm_eval

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    opened = paths.open_checkpoint(chosen.checkpoint)
    model, tokenizer, here = opened.model, opened.tokenizer, corpora.corpus_here("hellaswag")
    items = read_hellaswag(*corpora.fetch("hellaswag").values())[: chosen.items]
    path = Path(UNKEPT.name, "items.jsonl")
    rows = ({"query": c.context, "choices": list(c.endings), "gold": c.label} for c in items)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    seen = versions("lm-eval", "transformers", "datasets")
    record = open_record(chosen, holds=here.holds, items_of=here.what or "the raw file", with_versions=seen)
    wrapper, last = smallest(model, tokenizer), {}

    def theirs():
        asked = {"num_fewshot": 0, "bootstrap_iters": 0, "log_samples": True}
        last["theirs"] = lm_eval.simple_evaluate(model=wrapper, tasks=[task(path)], **asked)

    def ours():
        last["ours"] = score_choices(model, tokenizer, items)
        return [last["ours"].accuracy(per) for per in METRICS.values()]

    whole = "lm-eval, simple_evaluate"
    times = in_turns({"ours": ours, whole: theirs}, chosen.rounds, warm_up=1)

    samples = sorted(last["theirs"]["samples"]["local"], key=lambda sample: sample["doc_id"])
    nats = np.array([[score for score, _ in sample["filtered_resps"]] for sample in samples])  # (N, 4)
    largest = float(np.abs(nats - last["ours"].nats).max())
    figures = {"items": len(samples), "largest_difference_nats": largest}
    for metric, per in METRICS.items():
        found = [bool(sample[metric]) for sample in samples]
        alike = int((last["ours"].correct(per) == found).sum())
        figures |= {metric: statistics.fmean(found), f"{metric}_items_equal": alike}
    print(figures)
    record.write("measurement", name="equal", **figures)
    report(record, times, [(whole, "ours")])


if __name__ == "__main__":
    main()
