"""Hugging Face's transformers, imported with no network, and its tokenizers with our ids."""

import json
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from tinylm.storage.tokenizer_json import settings_of, to_tokenizers

with patch.dict(os.environ, HF_HUB_OFFLINE="1"):
    import transformers

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


@cache
def auto_tokenizer(ours):
    """AutoTokenizer, from the two files that an export writes."""
    with TemporaryDirectory() as folder:
        for name, data in (("tokenizer", to_tokenizers(ours)), ("tokenizer_config", settings_of(ours))):
            Path(folder, f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
        return transformers.AutoTokenizer.from_pretrained(folder)
