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
IN_TABLE = str.maketrans({mark: f"\\{mark}" for mark in "\\|`"})  # would end a cell of a table, or begin code
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
    from huggingface_hub import ModelCardData  # importing it takes half a second

    header = record.header
    scored = [line for line in record.evaluations if line.get("loss") is not None]
    if record.what != "training" or not scored:
        raise RunError(f"{name} is of {record.what} with {len(scored)} losses: give a run that was evaluated")
    last, corpus, holds = scored[-1], header["data"], header.get("holds") or "whole"
    reading = {"tokenizer": "characters", "train_share": 1.0} | (header.get("reading") or {})
    source = CORPORA.get(corpus, UNKNOWN)
    results = list(_results(record, last, measured))
    about = ModelCardData(
        language="en",
        license=licence,
        library_name="transformers" if use == USE_EXPORTED else "tinylm",
        model_name=name,
        pipeline_tag="text-generation",
        tags=[header["recipe"]] + ([f"dataset-license:{source.licence}"] if corpus in CORPORA else []),
        datasets=source.hub and [source.hub],
        eval_results=results,
    )
    read = corpus.translate(IN_TABLE) + (f" (a {holds})" if holds != "whole" else "")
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
        yaml=about.to_yaml(line_break="\n").strip(),
        name=name,
        read=read,
        tokens_as=reading["tokenizer"].translate(IN_TABLE),
        rights=source.licence,
        optimizer=header["train"].get("optimizer", "adamw"),
        steps_done=last["step"],
        tokens_read=last["step"] * header["train"]["tokens_per_step"],
        took=plain_duration(last["seconds"]),
        limits="".join(f"- {limit}\n" for limit, is_so in limits.items() if is_so),
        results="\n".join(dict.fromkeys(f"- {it.dataset_name}: {it.metric_name}" for it in results)),
        use=use or f"```console\npython -m tinylm sample {name}\n```",
    )


def _results(record: Record, last: dict, measured: Iterable[dict]) -> Iterator[Any]:
    """Yield what was measured at the checkpoint of the last loss, each as the Hub's EvalResult."""
    from huggingface_hub import EvalResult

    def result(on: str, metric: str, value: float, said: str) -> EvalResult:
        hub = CORPORA.get(on, UNKNOWN).hub
        return EvalResult("text-generation", hub or on, on, metric, value, metric_name=said)

    corpus, reading = record.header["data"], record.header.get("reading") or {}
    known = {name: last[name] for name in Evaluation.__dataclass_fields__ if last.get(name) is not None}
    missing = {"n_tokens": 0, "standard_error": float("nan"), "unit": "what its record does not say"}
    found = Evaluation(**missing | known)
    is_characters = reading.get("tokenizer", "characters") == "characters"
    said = found.described("character" if is_characters else "token")
    yield result(corpus, "loss", found.loss, said)
    if found.bits_per_byte is not None:
        yield result(corpus, "bits_per_byte", found.bits_per_byte, said)
    lines = [x for x in measured if "mean" in x and x.get("step") in (None, last["step"])]
    most = {(x["on"], x["per"]): x for x in sorted(lines, key=lambda x: x["n"])}  # the last one is kept
    for line in most.values():
        yield result(line["on"], "accuracy", line["mean"], line["described"])


def card_of(name: str, *, licence: str | None = None, exported: bool = False) -> str:
    """Return the card of one of your runs, or of a record or model that came with the course, by its name.

    An exported model's card stands beside its files as README.md and says how transformers opens them. Raises
    CheckpointError if there is none, RunError as `card` does or if the record lacks a field."""
    here = {path.stem: path for path in sorted((paths.DATA / "runs").glob("*.jsonl"))}
    use = USE_EXPORTED if exported else ""
    try:
        run = paths.find_run(name)
        name, path, beside = run.resolve().name, run / "record.jsonl", run.glob("*.jsonl")
    except CheckpointError as error:
        run, path, beside = None, here.get(name, here.get(f"{name}-seed1")), here.values()
        if path is None:
            raise CheckpointError(f"there is no record of {name[:40]}: {did_you_mean(name, here)}") from error
        shipped = name.removesuffix("-seed1")  # the first seed of a recipe is the one shipped
        if (paths.SHIPPED / shipped).is_dir():
            name = shipped
        else:
            command = read_record(path).header["command"]
            use = f"```console\n# its weights were not kept: this trains it again\n{command}\n```"
    lines = (line for file in beside for line in read_record(file).measurements)
    measured = [line for line in lines if run or line.get("model") == name]  # your run may have been renamed
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
