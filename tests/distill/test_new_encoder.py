"""An encoder from nothing: the same bytes from the same texts, and a tokenizer that reads them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import BertConfig

from distill.errors import TrainingRefused
from distill.new_encoder import EncoderSizes, word_pieces, write_new_encoder
from distill.pretrained import load_encoder, load_masked_lm

ROOT = Path(__file__).parents[2]
TEXTS = ["Red lamp", "red Lamps", "lamp 台灯", "red kettle 1.7l"]
SIZES = EncoderSizes(layers=2, width=16, heads=2, feed_forward=32, positions=24, vocabulary=60)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    write_new_encoder(TEXTS, SIZES, 3, tmp_path / "encoder")
    return tmp_path / "encoder"


def test_words_by_frequency_behind_the_characters() -> None:
    tokens = word_pieces(TEXTS, 1000)
    assert tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokens[-2:] == ["red", "lamp"]  # three times, twice; all other words stand once
    assert {"台", "灯", "##s", "1"} <= set(tokens)
    assert word_pieces(TEXTS, len(tokens) - 1) == tokens[:-1]
    with pytest.raises(TrainingRefused, match=r"room for \d+ characters and special tokens, got 9"):
        word_pieces(TEXTS, 9)


def test_every_text_is_read_without_unknowns(encoder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    assert tokenizer.encode("red lamps").tokens == ["[CLS]", "red", "lamp", "##s", "[SEP]"]
    for text in TEXTS:
        assert "[UNK]" not in tokenizer.encode(text).tokens
    pair = tokenizer.encode("red", "lamp")
    assert pair.tokens == ["[CLS]", "red", "[SEP]", "lamp", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 1, 1]


def test_teachers_and_pretraining_can_start_from_it(encoder: Path) -> None:
    network = load_encoder(encoder)
    config = network.config
    assert isinstance(config, BertConfig)
    assert (config.hidden_size, config.num_hidden_layers) == (16, 2)
    _, head_was_new = load_masked_lm(encoder)
    assert not head_was_new


def test_another_process_makes_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from distill.new_encoder import *; "
        f"write_new_encoder({TEXTS!r}, {SIZES!r}, 3, Path({str(tmp_path / 'other')!r}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    for path in encoder.iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    write_new_encoder(TEXTS, SIZES, 4, tmp_path / "seeded")
    weights = "model.safetensors"
    assert (tmp_path / "seeded" / weights).read_bytes() != (encoder / weights).read_bytes()
