"""Estimate what ten billion tokens ask of a machine: TINYLM_DATA=../shared/data
python tests/benchmarks/ten_billion.py [--record NAME]

Measured: preparing real text in parquet files of FineWeb-Edu's shape (documents of some 4,750 characters, a
thousand to a row group) with GPT-2's tokens, in CPU-seconds and memory of one process; and how long a step of
524,288 tokens waits for its data out of a hundred shards, first from the disk and then from memory. The
record's plan divides all of the text by the measured rate. The full size was not run.
"""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from benchmark import UNKEPT, new_process, open_record, options, peak_memory

from tinylm.text import corpora, documents
from tinylm.text.batches import Batches
from tinylm.text.prepare import prepare
from tinylm.text.shards import open_tokens
from tinylm.text.tokens import Tokens

TEXT_BYTES, TOKENS = 45.97e9, 9_982_590_278  # data/README.md, fineweb-edu
CHARACTERS, ROW_GROUP = 4_750, 1_000


def written(path, corpus, copies):
    """Write a parquet file of these documents, cut and copied so often. Return the bytes of its text."""
    read = documents.read(corpora.fetch(corpus)["modules.jsonl"])
    texts = [text[at : at + CHARACTERS] for text in read for at in range(0, len(text), CHARACTERS)]
    urls = [f"https://example.org/{i:030d}" for i in range(len(texts))]
    table = pyarrow.table({"text": texts, "url": urls, "token_count": range(len(texts))})
    with pyarrow.parquet.ParquetWriter(path, table.schema) as file:
        for _ in range(copies):
            file.write_table(table, row_group_size=ROW_GROUP)
    return copies * sum(len(text.encode()) for text in texts)


def prepared(source, folder):
    """Prepare a file in this process. Return the CPU-seconds and the peak memory in GB."""
    os.environ["TINYLM_CACHE"] = str(folder)
    prepare(str(source))
    return {"cpu_seconds": sum(os.times()[:2]), "memory_gb": peak_memory() * 2**20 / 1e9}


def waits(paths, steps, *, cold):
    """Return the seconds that each step waits for its data, if `cold` after the system forgot the files."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        if cold and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    shards = [open_tokens(path) for path in paths]
    while len(shards) < 100:  # as many as there would be, of fewer files
        shards += shards[: 100 - len(shards)]
    batches = Batches(Tokens(shards), context_length=1024, batch_size=32, seed=1, fingerprint="a benchmark")
    batches.fingerprint()  # shuffles the windows
    taken = []
    for step in range(steps):
        began = time.perf_counter()
        for micro_step in range(16):
            batches.batch(step, micro_step, 16)
        taken.append(time.perf_counter() - began)
    return taken


def main():
    chosen = options(
        __doc__,
        corpus=("openstax", "the corpus whose text is prepared"),
        copies=(10, "copies of the text in one file"),
        rounds=(3, "preparations"),
        shards=(10, "different files of a hundred million tokens; they are used as a hundred"),
        tokens_per_second=(450_000, "speed of training, of which the wait for data is a share"),
    )
    record, folder = open_record(chosen), Path(UNKEPT.name)
    size = written(folder / "text.parquet", chosen.corpus, chosen.copies) / 1e6
    made = []
    for i in range(chosen.rounds):
        with new_process() as process:
            made.append(process.submit(prepared, folder / "text.parquet", folder / f"shards {i}").result())
        record.write("measurement", name="prepare, one process", megabytes=size, **made[-1])
    rate = statistics.median(size / one["cpu_seconds"] for one in made)
    memory = max(one["memory_gb"] for one in made)
    print(f"{size:,.0f} MB of text: {rate:.1f} MB per CPU-second, {memory:.2f} GB of memory in a process")

    paths = [folder / f"{i}.bin" for i in range(chosen.shards)]
    for i, path in enumerate(paths):
        ids = np.random.default_rng(i).integers(50257, size=10**8, dtype=np.uint16)
        path.write_bytes(ids.tobytes())
    if hasattr(os, "sync"):
        os.sync()  # the system cannot forget what it has not written yet
    cold, warm = waits(paths, 20, cold=True), waits(paths, 20, cold=False)
    for name, taken in (("from the disk at first", cold), ("from memory", warm)):
        record.write("measurement", name=f"seconds of data in a step, {name}", seconds=taken)
    whole = sum(cold) * 100 / chosen.shards / 19_073 + statistics.median(warm)
    shares = [seconds * chosen.tokens_per_second / 524_288 for seconds in (statistics.median(warm), whole)]
    record.write("measurement", name="share of a step, from memory and with the first reading", shares=shares)
    print(f"share of a step that waits for data: {shares[0]:.2%}, with the first reading {shares[1]:.2%}")

    plan = {"disk_gb": (corpora.size(corpora.CORPORA["fineweb-edu"]) + 2 * TOKENS) / 1e9}
    plan |= {"hours": TEXT_BYTES / 1e6 / rate / 3600, "memory_gb": memory}
    record.write("measurement", name="plan of ten billion tokens", **plan)
    print("ten billion tokens:", plan)
    record.write("end")


if __name__ == "__main__":
    main()
