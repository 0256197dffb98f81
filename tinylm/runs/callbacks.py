"""Callbacks: what a run does along the way: it evaluates, writes its record, prints, and saves checkpoints.

Taught in notebook 04_training."""

import math
from pathlib import Path

import torch
from tqdm.auto import tqdm

from tinylm.errors import RunError, TinyLMError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.inference.generate import generate_text
from tinylm.runs import paths
from tinylm.runs.build import Experiment
from tinylm.runs.records import RunRecord
from tinylm.storage import checkpoint
from tinylm.text.tokenizers import Tokenizer
from tinylm.training.progress import TrainingState

SAMPLE = GenerationConfig(max_new_tokens=72, temperature=0.8)  # a line


def format_evaluation(evaluation: Evaluation, unit: str) -> str:
    """An evaluation in one line; `unit` is what one token is called. Its ± says over what it was taken."""
    error = "" if math.isnan(evaluation.standard_error) else f" ± {evaluation.standard_error:.4f}"
    over = f" (± over {evaluation.unit})" if error else ""
    return (
        f"validation loss {evaluation.loss:.4f}{error} nats per {unit}, perplexity "
        f"{evaluation.perplexity:.2f}, {evaluation.bits_per_token:.3f} bits per {unit}{over}"
    )


def opening(tokenizer: Tokenizer) -> str:
    """What a text begins with: a line's end or, where the text had none, the tokenizer's first token."""
    try:
        tokenizer.encode("\n")
        return "\n"
    except TinyLMError:
        return tokenizer.decode([0])


class RunCallbacks:
    """The `evaluate`, the `save` and the callback that `train` is given by a run.

    `record` may come later: that of a resumed run is opened when its checkpoint has been found to fit."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder
        self.record: RunRecord | None = None
        self.state: TrainingState | None = None
        """The run's, once it has begun."""

    @property
    def steps(self) -> int:
        """How many steps are finished."""
        return self.state.progress.step if self.state else 0

    def evaluate(self, state: TrainingState) -> Evaluation:
        """The loss on the validation text, in the arithmetic of the training or in eval_dtype."""
        dataset, config = self.experiment.dataset, state.config
        return evaluate(
            state.model,
            dataset.validation,
            documents=dataset.documents,
            bytes_per_token=dataset.bytes_per_token,
            max_tokens=config.eval_tokens or None,
            device=state.precision.device,
            dtype=state.precision.dtype if config.eval_dtype == "auto" else config.eval_dtype,
            world=state.world,
        )

    def __call__(self, state: TrainingState) -> None:
        """Write down a step or an evaluation; print an evaluation, with a line that the model writes by now.

        The line has a generator of its own, so that training sees none of its random numbers."""
        self.state = state
        if self.record is not None:
            self.record(state)
        if state.evaluation is None:
            return
        step, dataset = state.progress.step, self.experiment.dataset
        tqdm.write(f"step {step}: {format_evaluation(state.evaluation, dataset.unit)}")
        generator = torch.Generator().manual_seed(step)
        prompt = opening(dataset.tokenizer)
        line = generate_text(state.model, dataset.tokenizer, prompt, SAMPLE, generator=generator)
        tqdm.write(f"  {line!r}")

    def save(self, state: TrainingState) -> str:
        """Save a checkpoint and remove those no longer wanted. Returns its name as it can be typed."""
        self.state = state
        if not (self.folder / "record.jsonl").exists():
            raise RunError(
                f"the folder of the run {self.folder.name} was removed while it trained: train it again"
            )
        progress, home = state.progress, self.folder / paths.KEPT
        folder = home / checkpoint.folder_of(progress.step)
        recipe, evaluation = self.experiment.recipe, state.evaluation
        notes = {"recipe": recipe.name, "corpus": recipe.data.corpus, "step": progress.step}
        if evaluation is not None:
            notes |= {"loss": evaluation.loss, "unit": evaluation.unit}
            if not math.isnan(evaluation.standard_error):
                notes["standard_error"] = evaluation.standard_error
        notes["train"] = recipe.train.to_json()
        tokenizer = self.experiment.dataset.tokenizer.to_json()
        checkpoint.save(folder, state, tokenizer=tokenizer, notes=notes)
        checkpoint.rotate(home, step=progress.step, best=progress.best[0] if progress.best else None)
        return paths.display_path(folder)
