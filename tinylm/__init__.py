"""tinylm: the tested rooms behind the course. Each notebook builds an idea, then imports it from here.

Floors, each knowing only those above it:

    errors      the one error meant for the reader
    text        characters, corpora, toyworld, shards, batches
    model       config, attention, rope, layers, gpt, weights
    training    losses, optim, precision, loop, records, forecast
    inference   sampling, generate, evaluate
    course      checks, plots, widgets, scale, workbook
    recipes     a named run is a function returning the whole recipe
    __main__    the only command line: python -m tinylm
"""
