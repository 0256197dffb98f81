"""A folder of shards of a given size, as a test wants it."""

import numpy as np

from tinylm.text.shards import write_manifest, write_shard
from tinylm.text.tokenizers import tokenizer_from_json


def write_shards(folder, rows, *, tokenizer, source, shard_tokens=10**8):
    """Rows of ids in files of so many, NAME_000.bin and on; returns the manifest."""
    ids, files = np.concatenate(rows), []
    folder.mkdir(parents=True)
    for number, at in enumerate(range(0, len(ids), shard_tokens)):
        files.append(folder / f"{folder.name}_{number:03d}.bin")
        write_shard(files[-1], [ids[at : at + shard_tokens]], tokenizer_from_json(tokenizer).vocab_size)
    return write_manifest(folder, files, tokenizer, source)
