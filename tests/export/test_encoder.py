"""The encoder folder that ReprBERT starts from: which layers are taken, and which are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from distill.options import TrainOptions
from distill.start import start_student
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.students.encoder import build_encoder, load_encoder_weights, read_encoder_config
from export.students.reprbert import ReprBert
from model_store.wordpiece import WordPieceTokenizer


@pytest.fixture
def copy(tmp_path: Path, encoder_folder: Path) -> Path:
    """An encoder folder that a test may damage."""
    return Path(shutil.copytree(encoder_folder, tmp_path / "encoder"))


def _edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_hidden_states_are_those_of_the_whole_model(encoder_folder: Path) -> None:
    config = BertConfig(**json.loads((encoder_folder / "config.json").read_text()))
    whole = BertModel(config, add_pooling_layer=False)
    whole.train(mode=False)
    stored = load_file(encoder_folder / "model.safetensors")
    tensors = {name.removeprefix("bert."): tensor for name, tensor in stored.items()}
    whole.load_state_dict({name: tensors[name] for name in whole.state_dict()})
    first_two = build_encoder(read_encoder_config(encoder_folder, layers=2)).eval()
    load_encoder_weights(first_two, encoder_folder)
    ids, mask = WordPieceTokenizer(encoder_folder / "tokenizer.json", 20, 20).encode(
        ["red usb cable", "lamp"], "query"
    )
    with torch.no_grad():
        ours, theirs = (
            model(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                output_hidden_states=True,
            ).hidden_states
            for model in (first_two, whole)
        )
    assert (len(ours), len(theirs)) == (3, 4)
    for layer in range(3):
        torch.testing.assert_close(ours[layer], theirs[layer])


def test_names_of_converted_checkpoints_are_understood(copy: Path) -> None:
    stored = load_file(copy / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in stored.items()
    }
    assert old.keys() != stored.keys()
    save_file(old, copy / "model.safetensors")
    encoder = build_encoder(read_encoder_config(copy, layers=1))
    load_encoder_weights(encoder, copy)
    name = "embeddings.LayerNorm.weight"
    assert torch.equal(encoder.state_dict()[name], stored[f"bert.{name}"])


def test_from_scratch_needs_no_weights(copy: Path, tmp_path: Path, pairs: Pairs) -> None:
    (copy / "model.safetensors").unlink()
    start = start_student(
        "reprbert", pairs, TrainOptions(encoder=copy, from_scratch=True), tmp_path
    )
    assert isinstance(start.student, ReprBert)
    assert start.facts["from_scratch"] is True
    assert "encoder_sha256" not in start.facts
    with pytest.raises(EncoderRefused, match="or ask for random layers with from_scratch"):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "gpt2"}, 'expected "model_type": "bert", got \'gpt2\''),
        ({"position_embedding_type": "relative_key"}, "expected absolute positions"),
        ({"hidden_size": 0}, "not a BERT configuration"),
        ({"num_attention_heads": 5}, "expected hidden_size to be a multiple"),
        ({"hidden_act": "sine"}, "not a BERT configuration"),
        ({"num_hidden_layers": 1}, "expected 1 to 1 layers .*, got 2"),
        ({"vocab_size": 20}, "they belong to different checkpoints"),
        ({"intermediate_size": 48}, r"expected shape \[48, 32\] after config.json, got \[64, 32\]"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    copy: Path, tmp_path: Path, pairs: Pairs, changes: dict[str, object], expected: str
) -> None:
    _edit_config(copy, **changes)
    with pytest.raises(EncoderRefused, match=expected):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_damaged_file_is_named(
    copy: Path, tmp_path: Path, pairs: Pairs, name: str
) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderRefused, match=name):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)
    (copy / name).unlink()
    with pytest.raises(EncoderRefused, match=name):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)


def test_missing_tensors_are_counted_and_named(copy: Path, tmp_path: Path, pairs: Pairs) -> None:
    stored = load_file(copy / "model.safetensors")
    kept = {name: tensor for name, tensor in stored.items() if ".layer.1." not in name}
    save_file(kept, copy / "model.safetensors")
    with pytest.raises(EncoderRefused, match=r"lacks 16 of .* first encoder\.layer\.1\."):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)


def test_weights_that_are_not_finite_are_named(copy: Path, tmp_path: Path, pairs: Pairs) -> None:
    stored = load_file(copy / "model.safetensors")
    stored["bert.embeddings.LayerNorm.bias"][2] = float("nan")
    save_file(stored, copy / "model.safetensors")
    with pytest.raises(EncoderRefused, match=r"embeddings\.LayerNorm\.bias: holds NaN"):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)


def test_a_tokenizer_without_cls_and_sep_is_refused(
    copy: Path, tmp_path: Path, pairs: Pairs
) -> None:
    path = copy / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    with pytest.raises(EncoderRefused, match=r"every text to become \[CLS\] tokens \[SEP\]"):
        start_student("reprbert", pairs, TrainOptions(encoder=copy), tmp_path)


def test_an_empty_text_gets_finite_rows(tmp_path: Path, encoder_folder: Path, pairs: Pairs) -> None:
    start = start_student("reprbert", pairs, TrainOptions(encoder=encoder_folder), tmp_path)
    start.student.eval()
    for texts in ([""], ["", "red usb cable"]):
        ids, mask = start.tokenizer.encode(texts, "query")
        with torch.no_grad():
            rows = start.student.query(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        assert np.isfinite(rows).all()
        assert np.abs(rows[0]).max() > 0
