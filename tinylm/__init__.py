"""tinylm: the tested code behind the course. Each notebook builds an idea from nothing, then imports it from here.

The floors, each importing only from those above it (text and model do not know each other):

    errors, device     the kinds of error; device, arithmetic, seeds and what this machine is
    text, model        from text to batches of ids; from ids to logits and losses
    training           from a model and batches to a better model
    inference          from a trained model to text and to numbers about it
    storage            files that arrive whole: weights and training checkpoints
    runs               a recipe becomes a run, with its folder, records, checkpoints and forecast
    course             checks, figures and widgets for the notebooks
    cli                what can be typed after python -m tinylm
"""
