import re
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tinylm.errors import DataError, TinyLMError
from tinylm.text.registry import CORPORA, corpus_named


def test_every_entry_is_found_by_its_own_name():
    for name, corpus in CORPORA.items():
        assert corpus.name == name and corpus_named(name) is corpus
        assert re.fullmatch(r"[a-z0-9-]+", name)  # it is also the name of a folder


def test_every_entry_says_what_it_is_where_it_comes_from_and_what_it_permits():
    for corpus in CORPORA.values():
        assert corpus.about and corpus.source and corpus.licence and corpus.separator
        assert 0 < corpus.validation_fraction < 1


def test_every_file_has_a_secure_address_a_size_and_a_full_hash():
    for corpus in CORPORA.values():
        for file in corpus.files:
            assert urlparse(file.url).scheme == "https"
            assert file.size > 0 and re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert re.fullmatch(r"[A-Za-z0-9._-]+", file.name)


def test_an_unknown_name_is_refused_with_the_nearest_there_is():
    assert issubclass(DataError, TinyLMError)
    with pytest.raises(DataError, match=r"'tinyshakespere': did you mean tinyshakespeare\?"):
        corpus_named("tinyshakespere")
    with pytest.raises(DataError, match=r"the registry holds .*tinyshakespeare"):
        corpus_named("123")


def test_every_entry_has_its_card_with_the_size_and_the_hash_of_its_files():
    cards = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    for name, corpus in CORPORA.items():
        heading = re.search(rf"^## .*\b{name}\b.*\n(?P<card>(?s:.*?))(?=^## |\Z)", cards, re.M)
        assert heading, name
        for file in corpus.files:
            for fact in (f"{name}/{file.name}", f"{file.size:,} bytes", file.sha256):
                assert fact in heading["card"]
