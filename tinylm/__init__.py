"""tinylm: the tested rooms behind the course. Each notebook builds an idea, then imports it from here.

Floors, each knowing only those above it:

    errors      the one error meant for the reader
    text        tokenizers, corpora (registry, downloads), toyworld, shards, batches
    model       config, attention, rope, kv_cache, layers, gpt, weights, sealed
    training    config, losses, optim, precision, step, loop, state, checkpoint, records, results, forecast
    inference   config, sampling, generate, text_stream, evaluate
    course      checks, plots and pictures, widgets, playground, scale, workbook
    recipes     a named run is a function returning the whole recipe
    prepared    a recipe with its text read and its model built
    runs        a run's folder, record and checkpoint;  checkpoints opens one by name
    watch       what a run does along the way: it validates, saves, lets the model write

    machine     what this machine is, and what it can train in how long
    options     what can be typed;  commands calls a room for each
    __main__    the only command line: python -m tinylm
"""
