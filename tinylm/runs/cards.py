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
from tinylm.text.corpora import CORPORA
from tinylm.training.forecast import plain_duration

SOURCES = dict.fromkeys(CORPORA, ("MIT, as tinylm's, which makes it", None))  # licence, name on the Hub
SOURCES |= {"tinyshakespeare": ("public domain", None), "hellaswag": ("MIT", "Rowan/hellaswag")}
SOURCES |= dict.fromkeys(("tinystories", "tinystories-v1"), ("CDLA-Sharing-1.0", "roneneldan/TinyStories"))
SOURCES |= {"openstax": ("CC BY 4.0", None), "fineweb-edu": ("ODC-By 1.0", "HuggingFaceFW/fineweb-edu")}
SOURCES |= {"fineweb-edu-shards": ("ODC-By 1.0", "kjj0/finewebedu10B-gpt2")}
UNKNOWN = ("not known here: find it out before you publish the model", None)
IN_TABLE = str.maketrans({mark: f"\\{mark}" for mark in "\\|`"})  # would end a cell of a table, or begin code


def card(
    record: Record, name: str, *, measured: Iterable[dict] = (), licence: str | None = None, kept: bool = True
) -> str:
    """Return the card of a run, called `name` there, from its record.

    `measured` are lines that scoring.score wrote about the model. Of those about the checkpoint whose loss is
    shown, the card has those over the most items. `licence` is that of the weights, by the Hub's name for it
    ("mit"). Whoever publishes them decides it, so by default the card has none. `kept` says whether the
    model can still be opened. Raises RunError for a record without a training or a loss, and KeyError for one
    that lacks a field."""
    from huggingface_hub import EvalResult, ModelCardData  # importing it takes half a second

    header = record.header
    scored = [line for line in record.evaluations if line.get("loss") is not None]
    if record.what != "training" or not scored:
        raise RunError(f"{name} is of {record.what} with {len(scored)} losses: give a run that was evaluated")
    last, corpus, holds = scored[-1], header["data"], header.get("holds") or "whole"
    reading = {"tokenizer": "characters", "train_share": 1.0} | (header.get("reading") or {})
    rights, hub = SOURCES.get(corpus, UNKNOWN)
    results = list(_results(record, last, measured))
    yaml = ModelCardData(
        language="en",
        license=licence,
        library_name="tinylm",
        model_name=name,
        pipeline_tag="text-generation",
        tags=[header["recipe"]] if corpus not in SOURCES else [header["recipe"], f"dataset-license:{rights}"],
        datasets=hub and [hub],
        eval_results=[
            EvalResult(
                "text-generation", SOURCES.get(on, UNKNOWN)[1] or on, on, kind, value, metric_name=said
            )
            for on, kind, value, said in results
        ],
    )
    limits = []
    if holds != "whole":
        limits.append(f"It read a {holds}, so its losses compare with no published ones.")
    if not record.has_ended:
        limits.append("Its training had not ended when this card was written.")
    if header.get("init_from"):
        limits.append(f"It started from the weights of {header['init_from']['name']}.")
    read = corpus.translate(IN_TABLE) + (f" (a {holds})" if holds != "whole" else "")
    if reading["train_share"] != 1:
        read += f", its first {reading['train_share']:.0%}"
    use = f"python -m tinylm sample {name}"
    if not kept:
        use = f"# its weights were not kept: this trains it again\n{header['command']}"
    return (
        Path(__file__)
        .with_name("card.md")
        .read_text(encoding="utf-8")
        .format(
            yaml=yaml.to_yaml(line_break="\n").strip(),
            name=name,
            read=read,
            tokens_as=reading["tokenizer"].translate(IN_TABLE),
            rights=rights,
            optimizer=header["train"].get("optimizer", "adamw"),
            steps_done=last["step"],
            tokens_read=last["step"] * header["train"]["tokens_per_step"],
            took=plain_duration(last["seconds"]),
            limits="".join(f"- {said}\n" for said in limits),
            results="\n".join(dict.fromkeys(f"- {on}: {said}" for on, _, _, said in results)),
            use=use,
            header=header,
        )
    )


def _results(record: Record, last: dict, measured: Iterable[dict]) -> Iterator[tuple[str, str, float, str]]:
    """Yield what was measured at the checkpoint of the last loss: on what, which metric, value, in words."""
    corpus, reading = record.header["data"], record.header.get("reading") or {}
    known = {name: last[name] for name in Evaluation.__dataclass_fields__ if last.get(name) is not None}
    missing = {"n_tokens": 0, "standard_error": float("nan"), "unit": "what its record does not say"}
    found = Evaluation(**missing | known)
    is_characters = reading.get("tokenizer", "characters") == "characters"
    said = found.described("character" if is_characters else "token")
    yield corpus, "loss", found.loss, said
    if found.bits_per_byte is not None:
        yield corpus, "bits_per_byte", found.bits_per_byte, said
    lines = [x for x in measured if "mean" in x and x.get("step") in (None, last["step"])]
    most = {(x["on"], x["per"]): x for x in sorted(lines, key=lambda x: x["n"])}  # the last of equals is kept
    for line in most.values():
        yield line["on"], "accuracy", line["mean"], line["described"]


def card_of(name: str, *, licence: str | None = None) -> str:
    """Return the card of one of your runs, or of a record or model that came with the course, by its name.

    Raises CheckpointError if there is none, RunError as `card` does or if the record lacks a field."""
    here = {path.stem: path for path in sorted((paths.DATA / "runs").glob("*.jsonl"))}
    try:
        run = paths.find_run(name)
        name, path, beside, kept = run.resolve().name, run / "record.jsonl", run.glob("*.jsonl"), True
    except CheckpointError as error:
        run, path, beside = None, here.get(name, here.get(f"{name}-seed1")), here.values()
        if path is None:
            raise CheckpointError(f"there is no record of {name[:40]}: {did_you_mean(name, here)}") from error
        shipped = name.removesuffix("-seed1")  # the first seed of a recipe is the one shipped
        name = shipped if (kept := (paths.SHIPPED / shipped).is_dir()) else name
    lines = (line for file in beside for line in read_record(file).measurements)
    measured = [line for line in lines if run or line.get("model") == name]  # your run may have been renamed
    try:
        return card(read_record(path), name, measured=measured, licence=licence, kept=kept)
    except KeyError as error:
        raise RunError(f"the record of {name} lacks {error}: give one as tinylm writes it") from error


def measurement(model: str, on: str, accuracy: Any, what: str = "") -> dict[str, Any]:
    """Return an accuracy of inference/choices as a line of a record, for the model's card.

    `what` says what the items are where they are not the published ones."""
    about = {"name": f"{model} on {on}, per {accuracy.per}", "model": model, "on": on} | accuracy._asdict()
    said = accuracy.described() + (f", from a stand-in: {what}" if what else "")
    return about | {"standard_error": accuracy.standard_error, "described": said}
