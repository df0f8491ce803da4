"""Masked language models: what is masked, that it learns, and who can start from the result."""

import gzip
import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from distill.errors import TrainingRefused
from distill.masked_lm import Pretrained, pretrain
from distill.masking import MASKED, RANDOM, MaskedTexts, Masking, chosen_tokens
from distill.pretrain_options import PretrainOptions
from distill.pretrained import load_encoder, load_masked_lm, load_tokenizer
from distill.texts import read_texts
from evaluation.errors import InputFileError
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.students.encoder import build_encoder, load_encoder_weights, read_encoder_config
from tests.distill.families import FAMILIES, write_encoder

QUICK = PretrainOptions(
    epochs=2, batch_size=16, learning_rate=2e-3, held_out=0.1, save_every=3, seed=1
)


def _silent(phase: str, done: int, total: int | None) -> None: ...


@pytest.fixture(scope="module")
def texts(pairs: Pairs) -> list[str]:
    return list(dict.fromkeys(pairs.titles))[:300]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A BERT with a tokenizer that has [MASK], and without a masked-LM head."""
    return write_encoder("bert", tmp_path_factory.mktemp("encoders") / "bert", texts)


@pytest.fixture(scope="module")
def pretrained(
    tmp_path_factory: pytest.TempPathFactory, encoder: Path, texts: list[str]
) -> Pretrained:
    out = tmp_path_factory.mktemp("pretrained") / "out"
    return pretrain(encoder, texts, out, replace(QUICK, epochs=6), _silent, "cpu")


def _masked_texts(encoder: Path, texts: list[str], masking: Masking) -> MaskedTexts:
    return MaskedTexts(load_tokenizer(encoder), texts, masking, limit=None, most=40, pad=0)


def test_masks_are_80_10_10_of_15_percent(encoder: Path, texts: list[str]) -> None:
    many = texts * 5
    masked = _masked_texts(encoder, many, Masking(0.15, whole_words=False))
    tokenizer = load_tokenizer(encoder)
    batch = masked.masked(np.arange(len(many)), np.random.default_rng(0))
    plain = [tokenizer.encode(text).ids for text in many]
    lengths = np.array([len(ids) - 2 for ids in plain])
    chosen = batch.places.sum(dim=1).numpy()
    assert (chosen == np.maximum(1, np.round(0.15 * lengths))).all()
    where = iter(batch.wanted.tolist())
    for row, ids in enumerate(plain):
        restored = batch.token_ids[row].clone()
        for place in np.flatnonzero(batch.places[row].numpy()):
            restored[place] = next(where)
        assert restored[: len(ids)].tolist() == ids
        assert not batch.places[row, [0, len(ids) - 1]].any()  # [CLS] and [SEP]
        assert batch.token_mask[row].tolist() == [1] * len(ids) + [0] * (
            batch.token_mask.shape[1] - len(ids)
        )
    stands = batch.token_ids[batch.places]
    mask_id = tokenizer.token_to_id("[MASK]")
    assert mask_id is not None
    count = len(stands)
    same = torch.eq(stands, batch.wanted).float().mean().item()
    for share, expected in (
        (torch.eq(stands, mask_id).float().mean().item(), MASKED),
        (same, 1 - MASKED - RANDOM),
    ):
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / count) + 0.01)
    special = {tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")}
    assert not special & set(stands.tolist())


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 99),
)
def test_whole_words_stay_whole(sizes: list[int], share: float, seed: int) -> None:
    words = np.concatenate([[-1], np.repeat(np.arange(len(sizes)), sizes), [-1]]).astype(np.int32)
    places = chosen_tokens(words, Masking(share, whole_words=True), np.random.default_rng(seed))
    chosen = set(words[places].tolist())
    assert sorted(places.tolist()) == np.flatnonzero(np.isin(words, list(chosen))).tolist()
    assert -1 not in chosen
    enough = max(1, round(share * sum(sizes)))
    assert len(places) >= enough
    assert min(len(places) - sizes[word] for word in chosen) < enough


def test_the_generator_decides_the_masks(encoder: Path, texts: list[str]) -> None:
    masked = _masked_texts(encoder, texts, Masking(0.15, whole_words=True))
    one, again, other = (
        masked.masked(np.arange(20), np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one.token_ids, again.token_ids)
    assert not torch.equal(one.places, other.places)


def test_long_texts_are_cut_and_end_as_they_should(encoder: Path) -> None:
    text = "red usb cable " * 30
    masked = MaskedTexts(
        load_tokenizer(encoder), [text, "red"], Masking(0.15, False), limit=9, most=40, pad=0
    )
    assert masked.lengths.tolist()[0] == 9
    batch = masked.masked(np.array([0]), np.random.default_rng(0))
    tokenizer = load_tokenizer(encoder)
    assert batch.token_ids[0, -1] == tokenizer.token_to_id("[SEP]")
    assert not batch.places[0, -1]


def test_it_learns_texts_it_has_not_seen(pretrained: Pretrained) -> None:
    assert pretrained.head_was_new
    assert pretrained.loss_after < 0.9 * pretrained.loss_before
    assert pretrained.loss_after == min(-epoch.value for epoch in pretrained.epochs)
    assert pretrained.loss_after == pretrained.best.figures["held_out_loss"]
    facts = json.loads((pretrained.folder / "pretraining.json").read_text())
    assert facts["loss_before"] == pretrained.loss_before
    assert facts["loss_after"] == pretrained.loss_after
    assert (facts["seed"], facts["texts"]) == (1, 300)


def test_the_loss_is_transformers_own(pretrained: Pretrained, texts: list[str]) -> None:
    """The head runs on masked tokens alone; transformers' model runs it on all of them."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(pretrained.folder).eval()
    tokenizer = load_tokenizer(pretrained.folder)
    masked = MaskedTexts(tokenizer, texts, Masking(0.15, False), limit=None, most=40, pad=0)
    usable = masked.usable
    held_out = np.sort(np.random.default_rng(1).permutation(usable)[: round(0.1 * len(usable))])
    # One batch, as these few fit: its masks are drawn from (seed, epoch 0, batch 0).
    order = np.argsort(-masked.lengths[held_out], kind="stable")
    batch = masked.masked(held_out[order], np.random.default_rng((1, 0, 0)))
    labels = torch.full_like(batch.token_ids, -100)
    labels[batch.places] = batch.wanted
    with torch.no_grad():
        loss = model(
            input_ids=batch.token_ids, attention_mask=batch.token_mask, labels=labels
        ).loss.item()
    assert loss == pytest.approx(pretrained.loss_after, rel=1e-5)


def test_whoever_starts_from_it_finds_its_layers(pretrained: Pretrained) -> None:
    stored = load_file(pretrained.folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(load_encoder(pretrained.folder).state_dict()[name], stored[f"bert.{name}"])
    student = build_encoder(read_encoder_config(pretrained.folder, layers=2))
    load_encoder_weights(student, pretrained.folder)
    assert torch.equal(student.state_dict()[name], stored[f"bert.{name}"])
    model, head_was_new = load_masked_lm(pretrained.folder)
    assert not head_was_new
    assert torch.equal(
        model.get_output_embeddings().weight, stored["bert.embeddings.word_embeddings.weight"]
    )


def test_it_goes_on_from_its_own_head(
    pretrained: Pretrained, tmp_path: Path, texts: list[str]
) -> None:
    again = pretrain(pretrained.folder, texts, tmp_path / "out", QUICK, _silent, "cpu")
    assert not again.head_was_new
    assert again.loss_before == pytest.approx(pretrained.loss_after, rel=1e-6)


class _Stop(Exception):
    """Raised in the middle of a training."""


def test_a_stopped_pretraining_ends_with_the_same_files(
    encoder: Path, tmp_path: Path, texts: list[str]
) -> None:
    options = replace(QUICK, whole_words=True, batch_size=8)
    whole = pretrain(encoder, texts, tmp_path / "whole", options, _silent, "cpu")
    seen = 0

    def stop(phase: str, done: int, total: int | None) -> None:
        nonlocal seen
        seen += phase.startswith("epoch") and done > 0
        if seen == 2:
            raise _Stop

    with pytest.raises(_Stop):
        pretrain(encoder, texts, tmp_path / "stopped", options, stop, "cpu")
    resumed = pretrain(encoder, texts, tmp_path / "stopped", options, _silent, "cpu")
    assert resumed.epochs == whole.epochs
    assert _digest(tmp_path / "stopped") == _digest(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped", "whole"]


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_pretrained(family: str, tmp_path: Path, texts: list[str]) -> None:
    encoder = write_encoder(family, tmp_path / "encoder", texts)
    out = tmp_path / "out"
    result = pretrain(encoder, texts[:80], out, replace(QUICK, epochs=1), _silent, "cpu")
    assert result.head_was_new == (family != "roberta")
    assert math.isfinite(result.loss_after)
    before, after = load_encoder(encoder).state_dict(), load_encoder(out).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_texts_of_several_files_come_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("red lamp\n\n  \nblue lamp\nred lamp\n", encoding="utf-8")
    table = "query,title\nlamp,red lamp\nchair,oak chair\n"
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(table.encode()))
    paths = [tmp_path / "a.txt", tmp_path / "b.csv.gz"]
    assert read_texts(paths, ["title", "query"]) == [
        "red lamp",
        "blue lamp",
        "lamp",
        "oak chair",
        "chair",
    ]
    with pytest.raises(InputFileError, match=r"b\.csv\.gz: expected the columns that hold texts"):
        read_texts(paths, [])
    (tmp_path / "c.txt").write_text("手机", encoding="utf-8")
    with pytest.raises(InputFileError, match="can't be read as ascii"):
        read_texts([tmp_path / "c.txt"], [], "ascii")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"mask_share": 1.0}, "mask_share: expected above 0 and below 1"),
        ({"held_out": 0.0}, "held_out: expected above 0"),
        ({"text_tokens": 2}, "text_tokens: expected at least 8"),
        ({"warm_up": -0.1}, "warm_up: expected 0 to below 1"),
        ({"clip": float("nan")}, "clip: expected above 0"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, float], expected: str) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        PretrainOptions(**wrong)  # type: ignore[arg-type]


def test_it_says_why_it_will_not_start(
    tmp_path: Path, texts: list[str], encoder: Path, encoder_folder: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(EncoderRefused, match=r"expected a tokenizer with \[MASK\] or <mask>"):
        pretrain(encoder_folder, texts, out, QUICK, _silent, "cpu")
    with pytest.raises(TrainingRefused, match=r"got 3 distinct ones of which 0\.1 are 0"):
        pretrain(encoder, texts[:3], out, QUICK, _silent, "cpu")
    with pytest.raises(TrainingRefused, match="text_tokens: expected at most 40"):
        pretrain(encoder, texts, out, replace(QUICK, text_tokens=41), _silent, "cpu")
    with pytest.raises(TrainingRefused, match="exists already"):
        pretrain(encoder, texts, tmp_path, QUICK, _silent, "cpu")
    narrow = shutil.copytree(encoder, tmp_path / "narrow")
    weights = load_file(narrow / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:50]
    save_file(weights, narrow / "model.safetensors")
    config = json.loads((narrow / "config.json").read_text()) | {"vocab_size": 50}
    (narrow / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderRefused, match="the encoder's table has 50 rows"):
        pretrain(narrow, texts, out, QUICK, _silent, "cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["narrow"]
