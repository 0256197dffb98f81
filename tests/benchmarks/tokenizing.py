"""How fast are merges learned, and text encoded? Run by hand: TINYLM_DATA=../shared/data
python tests/benchmarks/tokenizing.py [--record NAME]

All times are CPU-seconds of this process with all its threads. Training: 4,096 ids learned from the training
text of a corpus, by the trainer of `tokenizers`. Encoding: the validation text with GPT-2's merges, by
`encode` and by `encode_documents`, beside bare calls of tiktoken, which does the work inside both.
Preparing: all of `prepare`, from a file to shards on the disk.
"""

import os
import shutil
import time
from pathlib import Path

from benchmark import UNKEPT, in_turns, open_record, options, report

from tinylm.text import bpe, corpora
from tinylm.text.prepare import prepare
from tinylm.text.tokenizers import gpt2_tokenizer, tiktoken_gpt2


def main() -> None:
    chosen = options(
        __doc__,
        corpus=("tinystories", "whose text; it must be one that can be read at once, as the pack's part"),
        vocab_size=(4096, "ids to learn, the 256 bytes and the end of text among them"),
        rounds=(5, "of each encoding; of the trainings three"),
    )
    text, n_merges = corpora.load(chosen.corpus), chosen.vocab_size - 257
    ours, tiktoken = gpt2_tokenizer(), tiktoken_gpt2()
    documents = [document.strip() for document in text.validation.split(corpora.END_OF_TEXT)]
    megabytes = {"train": len(text.train.encode()) / 1e6, "validation": len(text.validation.encode()) / 1e6}
    about = {"source": text.source, "holds": text.holds, "documents": len(documents)}
    record = open_record(chosen, megabytes=megabytes, **about)

    source = Path(UNKEPT.name, "text.txt")
    joined = f"\n{corpora.END_OF_TEXT}\n".join(documents)
    source.write_text(joined, encoding="utf-8", newline="\n")
    os.environ["TINYLM_CACHE"] = UNKEPT.name
    training = {"learn merges": lambda: bpe.train_merges([text.train], n_merges)}
    encoding = {
        "encode": lambda: ours.encode(text.validation),
        "tiktoken, whole text": lambda: tiktoken.encode_ordinary(text.validation),
        "encode_documents": lambda: list(ours.encode_documents(documents)),
        "tiktoken, each document": lambda: [tiktoken.encode_ordinary(document) for document in documents],
        "prepare, one core": lambda: shutil.rmtree(prepare(str(source))),
    }
    times = in_turns(training, 3, clock=time.process_time)
    times |= in_turns(encoding, chosen.rounds, clock=time.process_time)
    for name in encoding:
        rates = [megabytes["validation"] / seconds for seconds in times[name]]
        print(f"{name}: {min(rates):.1f} to {max(rates):.1f} MB per CPU-second")
        record.write("measurement", name=f"{name}, MB per CPU-second", rates=rates)
    each = "tiktoken, each document"
    pairs = [("encode", "tiktoken, whole text"), ("encode_documents", each), ("prepare, one core", each)]
    report(record, times, pairs)


if __name__ == "__main__":
    main()
