"""Cards: what a trained model is, as Markdown with the Hub's header (huggingface.co/docs/hub/model-cards).

The numbers come from a run's record, the words from card.md (Mitchell 2019, arXiv:1810.03993). Taught in
13_evaluation."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinylm.errors import CheckpointError, RunError
from tinylm.inference.evaluate import Evaluation
from tinylm.runs import paths
from tinylm.runs.recipes import did_you_mean
from tinylm.runs.records import Record, read_record
from tinylm.text.corpora import CORPORA, Corpus
from tinylm.training.forecast import plain_duration

UNKNOWN = Corpus(licence="not known here: find it out before you publish the model")
NOT_KEPT = "Its weights were not kept. The command above trains it again."
USE_EXPORTED = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")  # this folder, or the model's name on the Hub
tokenizer = AutoTokenizer.from_pretrained(".")
```"""


def card(
    record: Record, name: str, *, measured: Iterable[dict] = (), licence: str | None = None, use: str = ""
) -> str:
    """Return the card of a run, called `name` there, from its record.

    `measured` are lines that scoring.score wrote about the model. Of those about the checkpoint whose loss is
    shown, the card has those over the most items. `licence` is that of the weights, by the Hub's name for it
    ("mit"). Whoever publishes them decides it, so by default the card has none. `use` says how to use the
    model, by default with tinylm. Raises RunError for a record without a training or a loss, and KeyError for
    one that lacks a field."""
    header = record.header
    scored = [line for line in record.evaluations if line.get("loss") is not None]
    if record.what != "training" or not scored:
        raise RunError(f"{name} is of {record.what} with {len(scored)} losses: give a run that was evaluated")
    last, corpus, holds = scored[-1], header["data"], header.get("holds") or "whole"
    reading = {"tokenizer": "characters", "train_share": 1.0} | (header.get("reading") or {})
    source = CORPORA.get(corpus, UNKNOWN)
    read = corpus + (f" (a {holds})" if holds != "whole" else "")
    if reading["train_share"] != 1:
        read += f", its first {reading['train_share']:.0%}"
    start = header.get("init_from") or {}
    limits = {
        f"It read a {holds}, so its losses compare with no published ones.": holds != "whole",
        "Its training had not ended when this card was written.": not record.has_ended,
        f"It started from the weights of {start.get('name')}.": start,
    }
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return template.format(
        header=header,
        licence=f"license: {licence}\n" if licence else "",
        library="transformers" if use == USE_EXPORTED else "tinylm",
        datasets=f"datasets:\n- {source.hub}\n" if source.hub else "",
        name=name,
        read=read,
        tokens_as=reading["tokenizer"],
        rights=source.licence,
        optimizer=header["train"].get("optimizer", "adamw"),
        steps_done=last["step"],
        tokens_read=last["step"] * header["train"]["tokens_per_step"],
        took=plain_duration(last["seconds"]),
        limits="".join(f"- {limit}\n" for limit, is_so in limits.items() if is_so),
        results="\n".join(_results(corpus, reading["tokenizer"], last, measured)),
        use=use or f"```console\npython -m tinylm sample {name}\n```",
    )


def _results(corpus: str, tokenizer: str, last: dict, measured: Iterable[dict]) -> Iterator[str]:
    """Yield a line of Markdown for each measure that was taken at the checkpoint of the last evaluation."""
    known = {name: last[name] for name in Evaluation.__dataclass_fields__ if last.get(name) is not None}
    missing = {"n_tokens": 0, "standard_error": float("nan"), "unit": "what its record does not say"}
    unit = "character" if tokenizer == "characters" else "token"
    yield f"- {corpus}: {Evaluation(**missing | known).described(unit)}"
    lines = [x for x in measured if "mean" in x and x.get("step") in (None, last["step"])]
    most = {(x["on"], x["per"]): x for x in sorted(lines, key=lambda x: x["n"])}  # the last one is kept
    for line in most.values():
        yield f"- {line['on']}: {line['described']}"


def card_of(name: str, *, licence: str | None = None, exported: bool = False) -> str:
    """Return the card of one of your runs, or of a record or model that came with the course, by its name.

    An exported model's card stands beside its files as README.md and says how transformers opens them. Raises
    CheckpointError if there is none, RunError as `card` does or if the record lacks a field."""
    kept = {path.stem: path for path in sorted((paths.DATA / "runs").glob("*.jsonl"))}
    use, measured = USE_EXPORTED if exported else "", []
    try:
        run = paths.find_run(name)
        name, path = run.resolve().name, run / "record.jsonl"
        for scores in run.glob("*.jsonl"):
            measured += read_record(scores).measurements
    except CheckpointError as error:
        path = kept.get(name, kept.get(f"{name}-seed1"))  # the first seed of a recipe is the one shipped
        if path is None:
            raise CheckpointError(f"there is no record of {name[:40]}: {did_you_mean(name, kept)}") from error
        if (paths.SHIPPED / name.removesuffix("-seed1")).is_dir():
            name = name.removesuffix("-seed1")
        else:
            use = NOT_KEPT
        for scores in kept.values():
            measured += [line for line in read_record(scores).measurements if line.get("model") == name]
    try:
        return card(read_record(path), name, measured=measured, licence=licence, use=use)
    except KeyError as error:
        raise RunError(f"the record of {name} lacks {error}: give one as tinylm writes it") from error


def measurement(model: str, on: str, accuracy: Any, what: str = "") -> dict[str, Any]:
    """Return an accuracy of inference/choices as a line of a record, for the model's card.

    `what` says what the items are where they are not the published ones."""
    about = {"name": f"{model} on {on}, per {accuracy.per}", "model": model, "on": on} | accuracy._asdict()
    said = accuracy.described() + (f", from a stand-in: {what}" if what else "")
    return about | {"standard_error": accuracy.standard_error, "described": said}
