"""What do ten billion tokens ask of a machine? Run by hand: TINYLM_DATA=../shared/data
python tests/benchmarks/ten_billion.py [--record NAME]

Measured: GPT-2's tokens made of real text in parquet files shaped as FineWeb-Edu's (documents of some 4,750
characters, a thousand to a row group), in CPU-seconds of one process and with its memory; and what a step of
524,288 tokens waits for its data out of a hundred shards, from memory and, at first, from the disk. The rest
is a plan: divided by cores that share nothing, added up over the files, and not run so large.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from benchmark import UNKEPT, open_record, options

from tinylm.text import corpora, documents
from tinylm.text.batches import Batches
from tinylm.text.shards import open_tokens
from tinylm.text.tokens import Tokens

TEXT_BYTES, TOKENS = 45.97e9, 9_982_590_278  # data/README.md, fineweb-edu
CHARACTERS, ROW_GROUP = 4_750, 1_000
PREPARED = """
import json, os, re, sys
from tinylm.text.prepare import prepare
if __name__ == "__main__":
    prepare(sys.argv[1])
    status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else "VmHWM: 0"
    memory = int(re.search("VmHWM:[^0-9]*([0-9]+)", status)[1]) * 1024 / 1e9  # 0 where it is not told
    print(json.dumps({"cpu_seconds": sum(os.times()[:2]), "memory_gb": memory}))
"""


def written(path, corpus, copies):
    """A parquet file of these documents, cut and so many times over; returns the bytes of its text."""
    read = documents.read(corpora.fetch(corpus)["modules.jsonl"])
    texts = [text[at : at + CHARACTERS] for text in read for at in range(0, len(text), CHARACTERS)]
    urls = [f"https://example.org/{i:030d}" for i in range(len(texts))]
    table = pyarrow.table({"text": texts, "url": urls, "token_count": range(len(texts))})
    with pyarrow.parquet.ParquetWriter(path, table.schema) as file:
        for _ in range(copies):
            file.write_table(table, row_group_size=ROW_GROUP)
    return copies * sum(len(text.encode()) for text in texts)


def waits(paths, steps, *, cold):
    """Seconds for the data of each step, by the clock; `cold`: the system is first told to forget it."""
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
        corpus=("openstax", "whose text, from the pack"),
        copies=(10, "of it in one file"),
        rounds=(3, "preparations"),
        shards=(10, "files of a hundred million tokens, of which a hundred are made by naming them again"),
        tokens_per_second=(450_000, "of a training step, whose share the data's time is"),
    )
    record, folder = open_record(chosen), Path(UNKEPT.name)
    size = written(folder / "text.parquet", chosen.corpus, chosen.copies) / 1e6
    (folder / "prepared.py").write_text(PREPARED, encoding="utf-8", newline="\n")
    made = []
    for i in range(chosen.rounds):
        words, cache = [sys.executable, "prepared.py", "text.parquet"], {"TINYLM_CACHE": f"{folder}/{i}"}
        environment = os.environ | cache
        done = subprocess.run(
            words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        made.append(json.loads(done.stdout))
        record.write("measurement", name="prepare, one process", megabytes=size, **made[-1])
    rate = statistics.median(size / one["cpu_seconds"] for one in made)
    memory = max(one["memory_gb"] for one in made)
    print(f"{size:,.0f} MB of text: {rate:.1f} MB per CPU-second, {memory:.2f} GB of memory in a process")

    paths = [folder / f"{i}.bin" for i in range(chosen.shards)]
    for i, path in enumerate(paths):
        ids = np.random.default_rng(i).integers(50257, size=10**8, dtype=np.uint16)
        path.write_bytes(ids.tobytes())
    if hasattr(os, "sync"):
        os.sync()  # what is not yet written cannot be forgotten
    cold, warm = waits(paths, 20, cold=True), waits(paths, 20, cold=False)
    step = 524_288 / chosen.tokens_per_second
    for name, taken in (("from the disk at first", cold), ("from memory", warm)):
        record.write("measurement", name=f"seconds of data in a step, {name}", seconds=taken)
    whole = sum(cold) * 100 / chosen.shards / 19_073 + statistics.median(warm)
    shares = statistics.median(warm) / step, whole / step
    record.write("measurement", name="share of a step, from memory and with the first reading", shares=shares)
    print(
        f"data of a step of {step:.2f} s: {shares[0]:.2%} from memory, {shares[1]:.2%} with the first reading"
    )

    hours = {cores: TEXT_BYTES / 1e6 / rate / cores / 3600 for cores in (2, 8, 64)}
    plan = {"disk_gb": (corpora.size(corpora.CORPORA["fineweb-edu"]) + 2 * TOKENS) / 1e9, "hours": hours}
    plan["memory_gb"] = {cores: memory * cores for cores in hours}
    record.write("measurement", name="plan of ten billion tokens", **plan)
    print(f"ten billion tokens: {plan['disk_gb']:.1f} GB of disk")
    for cores in hours:
        print(f"{cores} cores: {60 * hours[cores]:.1f} minutes, {plan['memory_gb'][cores]:.1f} GB of memory")
    record.write("end")


if __name__ == "__main__":
    main()
