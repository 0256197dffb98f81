"""How fast are text and ids made of each other? Run by hand: TINYLM_DATA=../shared/data
python tests/benchmarks/tokenizing.py [--record NAME]

In CPU-seconds of this process, all its threads counted: 4,096 ids learned from the training text of a corpus,
by our own trainer and by `tokenizers`; its validation text encoded with GPT-2's merges, by our own encoder
and document by document as shards are made, beside tiktoken's own loop over these; and all of `prepare` on
one core, from a file to shards on the disk, beside that loop. That merges and ids are equal is seen first.
"""

import time
from itertools import count
from pathlib import Path

from benchmark import UNKEPT, in_turns, open_record, options, report

from tests.support.byte_pairs import merges_by_library
from tinylm.text import bpe, corpora
from tinylm.text.prepare import prepare
from tinylm.text.tokenizers import gpt2_tokenizer, tiktoken_gpt2


def cpu(work):
    """A run that says how many CPU-seconds it took."""

    def run():
        began = time.process_time()
        work()
        return time.process_time() - began

    return run


def main():
    chosen = options(
        __doc__,
        corpus=("tinystories", "whose text; it must be one that can be read at once, as the pack's part"),
        vocab_size=(4096, "ids to learn, the 256 bytes and the end of text among them"),
        rounds=(5, "of each encoding; of the trainings three"),
    )
    text, n_merges = corpora.load(chosen.corpus), chosen.vocab_size - 257
    ours, theirs = gpt2_tokenizer(), tiktoken_gpt2()
    documents = [document.strip() for document in text.validation.split(corpora.END_OF_TEXT)]
    megabytes = {"train": len(text.train.encode()) / 1e6, "validation": len(text.validation.encode()) / 1e6}
    record = open_record(
        chosen, megabytes=megabytes, source=text.source, holds=text.holds, documents=len(documents)
    )

    merges = bpe.train_merges(bpe.count_words([text.train]), n_merges)
    same_merges = merges == merges_by_library([text.train], n_merges)
    ids = [document.tolist() for document in ours.encode_documents(documents)]
    same_ids = ids == [[*theirs.encode_ordinary(document), theirs.eot_token] for document in documents]
    same_ids &= ours.encode(text.validation).tolist() == theirs.encode_ordinary(text.validation)
    print(f"{len(merges):,} merges, equal: {same_merges}; {sum(map(len, ids)):,} ids, equal: {same_ids}")
    record.write("measurement", name="equal", merges=len(merges), same_merges=same_merges, same_ids=same_ids)

    folder, numbers = Path(UNKEPT.name), count()
    (folder / "text.txt").write_text(
        f"\n{corpora.END_OF_TEXT}\n".join(documents), encoding="utf-8", newline="\n"
    )
    counting, learn, library = "count words", "learn merges", "tokenizers, both"
    words = bpe.count_words([text.train])
    training = {
        counting: lambda: bpe.count_words([text.train]),
        learn: lambda: bpe.train_merges(words, n_merges),
        library: lambda: merges_by_library([text.train], n_merges),
    }
    own, whole, fast = "our encoder", "tiktoken, whole text", "documents for shards"
    loop, prepared = "tiktoken's loop over documents", "prepare, one core"
    encoding = {
        own: lambda: ours.encode(text.validation),
        whole: lambda: theirs.encode_ordinary(text.validation),
        fast: lambda: list(ours.encode_documents(documents)),
        loop: lambda: [theirs.encode_ordinary(document) for document in documents],
        prepared: lambda: prepare(
            str(folder / "text.txt"), processes=1, folder=folder / f"shards {next(numbers)}"
        ),
    }
    times = in_turns({name: cpu(work) for name, work in training.items()}, 3)
    times |= in_turns({name: cpu(work) for name, work in encoding.items()}, chosen.rounds)
    for name in encoding:
        rates = [megabytes["validation"] / seconds for seconds in times[name]]
        print(f"{name}: {min(rates):.1f} to {max(rates):.1f} MB per CPU-second")
        record.write("measurement", name=f"{name}, MB per CPU-second", rates=rates)
    report(record, times, [(loop, fast), (loop, prepared), (own, whole)])


if __name__ == "__main__":
    main()
