"""Bags of word pieces, of Chinese, and of a bounded vocabulary: from pairs to a bundle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from distill.options import TrainOptions
from distill.train import Silence, train
from evaluation.metrics import roc_auc
from export.bundle_export import export_bundle
from export.checkpoint import Checkpoint, load_checkpoint
from export.errors import CheckpointRefused
from export.pairs import Pairs
from export.scoring import score_pairs
from export.students.bert2dnn import Bert2DnnFc
from model_store.cwub import VOCABULARY_FILE, build_vocabulary, token_hash
from model_store.student import OnnxStudent
from tests.export.small import publication

Parts = tuple[Pairs, Pairs]

COLOURS = ["红色", "黑色", "白色", "蓝色", "粉色", "灰色"]
GOODS = ["手机壳", "电脑包", "连衣裙", "运动鞋", "保温杯", "充电器", "耳机", "毛巾", "台灯"]
MORE = [
    "新款",
    "包邮",
    "正品",
    "2023",
    "加厚",
    "女士",
    "男士",
    "儿童",
    "usb",
    "大容量",
    "iPhone",
    "12",
]


@pytest.fixture(scope="module")
def chinese() -> Parts:
    """Made-up pairs: a title that names the goods of the query is relevant."""
    random = np.random.default_rng(3)
    queries, titles, targets = [], [], []
    for _ in range(1_600):
        asked, other = random.choice(GOODS, size=2, replace=False)
        relevant = random.random() < 0.5
        queries.append(f"{random.choice(COLOURS)}{asked}")
        words = [*random.choice(MORE, size=3), random.choice(COLOURS), asked if relevant else other]
        titles.append("".join(random.permutation(words)))
        targets.append(0.9 if relevant else 0.1)
    pairs = Pairs("chinese.csv", "0" * 64, queries, titles, np.array(targets, dtype=np.float32))
    rows = np.arange(len(pairs))
    return pairs.take(rows[:1_200]), pairs.take(rows[1_200:])


def _scores(student: OnnxStudent, pairs: Pairs) -> np.ndarray:
    """Scores of pairs as a service computes them."""
    P = student.encode_products(pairs.titles)
    return np.array(
        [
            student.score(student.encode_query(query), P[row : row + 1])[0]
            for row, query in enumerate(pairs.queries)
        ]
    )


def test_chinese_is_trained_exported_and_scored(chinese: Parts, tmp_path: Path) -> None:
    options = TrainOptions(epochs=5, batch_size=32, minimum_frequency=3)
    train("bert2dnn", *chinese, tmp_path / "checkpoint", options, Silence())
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    known = (checkpoint.folder / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    assert {"红", "红 色", "手 机", "机 壳", "^ 黑", "usb", "12"} <= set(known)
    exported = export_bundle(checkpoint, chinese[1], tmp_path / "bundles", publication("chinese"))
    served = _scores(OnnxStudent.load(exported.folder), chinese[1])
    exact = score_pairs(checkpoint.student, checkpoint.tokenizer, chinese[1])
    assert roc_auc(chinese[1].labels, exact) > 0.9
    assert roc_auc(chinese[1].labels, served) == pytest.approx(
        roc_auc(chinese[1].labels, exact), abs=0.002
    )


def test_a_vocabulary_may_be_bounded(chinese: Parts, tmp_path: Path) -> None:
    options = TrainOptions(epochs=1, maximum_vocabulary=50)
    train("deepdot", *chinese, tmp_path / "checkpoint", options, Silence())
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    assert checkpoint.student.state_dict()["bag.E.weight"].shape == (50, 64)
    known = (checkpoint.folder / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    assert "色" in known  # in every text
    assert len(known) == 50


def test_the_most_frequent_tokens_stay_and_ties_fall_by_code_point() -> None:
    texts = ["b a", "c b", "b d"]  # b 3, a c d 1; ^ b 2, b $ 1, ...
    _, kept = build_vocabulary(texts, 1, maximum=2)
    assert sorted(kept) == ["^ b", "b"]
    _, first = build_vocabulary(texts, 1, maximum=4)
    _, again = build_vocabulary(reversed(texts), 1, maximum=4)
    assert first == again
    assert sorted(first) == ["^ b", "^ c", "a", "b"]
    assert [token_hash(token) for token in first] == sorted(map(token_hash, first))
    _, all_of_them = build_vocabulary(texts, 1, maximum=1_000)
    assert all_of_them == build_vocabulary(texts, 1)[1]


@pytest.fixture(scope="module")
def word_pieces(
    tmp_path_factory: pytest.TempPathFactory, parts: Parts, encoder_folder: Path
) -> Checkpoint:
    """BERT2DNN with the word pieces of an encoder; tests don't change it."""
    options = TrainOptions(epochs=6, batch_size=32, tokenizer="wordpiece", encoder=encoder_folder)
    folder = tmp_path_factory.mktemp("pieces")
    train("bert2dnn", *parts, folder / "checkpoint", options, Silence())
    return load_checkpoint(folder / "checkpoint")


def test_word_pieces_are_trained_exported_and_scored(
    word_pieces: Checkpoint, parts: Parts, tmp_path: Path
) -> None:
    exported = export_bundle(word_pieces, parts[0], tmp_path, publication("pieces"))
    manifest = exported.manifest
    assert (manifest.student, manifest.tokenizer.kind) == ("bert2dnn", "wordpiece")
    assert manifest.tokenizer.files == ["tokenizer.json"]
    student = OnnxStudent.load(exported.folder)
    few = parts[0].take(np.arange(200))
    exact = score_pairs(word_pieces.student, word_pieces.tokenizer, few)
    assert roc_auc(few.labels, exact) > 0.7  # it has learned something of its pairs
    np.testing.assert_allclose(_scores(student, few), exact, atol=0.05)  # the head is int8
    empty = OnnxStudent.load(exported.folder, precision="float32").encode_products(["", "🎧"])
    assert not empty.any()  # no word: the zero vector, as with CWUB


def test_special_tokens_are_no_words(word_pieces: Checkpoint) -> None:
    student = word_pieces.student
    assert isinstance(student, Bert2DnnFc)
    tokenizer = Tokenizer.from_file(str(word_pieces.folder / "tokenizer.json"))
    special = {tokenizer.token_to_id(f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP")}
    assert set(student.config.not_counted) == special
    ids, mask = word_pieces.tokenizer.encode(["red lamp"], "product")
    assert ids[0, 0] in special
    words = torch.from_numpy(ids[:, 1:-1])
    with torch.no_grad():
        row = student.product(torch.from_numpy(ids), torch.from_numpy(mask))
        expected = student.bag.E(words).sum(dim=1) / words.shape[1] ** 0.5
    torch.testing.assert_close(row, expected)


def test_word_pieces_of_another_encoder_are_refused(
    word_pieces: Checkpoint, tmp_path: Path
) -> None:
    copy = shutil.copytree(word_pieces.folder, tmp_path / "copy")
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["onemore"] = len(tokenizer["model"]["vocab"])
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(CheckpointRefused, match=r"tokenizer\.json: expected \d+ entries, .* got"):
        load_checkpoint(copy)
    (copy / VOCABULARY_FILE).write_bytes(b"")  # a file of the other tokenizer is not looked at
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointRefused, match=r"tokenizer\.json"):
        load_checkpoint(copy)
