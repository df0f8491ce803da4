"""Small pairs, a small BERT on disk, and one trained and exported student of each kind."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from distill.new_encoder import word_pieces
from distill.options import TrainOptions
from distill.start import BAGS
from distill.train import Silence, train
from export.bundle_export import Exported, export_bundle
from export.checkpoint import Checkpoint, load_checkpoint
from export.graphs import trace_graphs
from export.pairs import Pairs, split_by_query
from tests.export.small import KINDS, TrainKind, publication

_WORDS = (
    "red blue green steel wooden cable lamp chair table phone case cover usb charger garden hose "
    "drill hammer screw 手机 电脑 红色 2.5 12 mm angle bracket shower head trim kit paint brush"
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are slower on many threads, above all while others use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """1,200 pairs of 300 queries; a title that has the query's words is relevant."""
    random, words = np.random.default_rng(7), _WORDS.split()
    queries, titles, targets = [], [], []
    for number in range(300):
        asked = list(random.choice(words, size=2, replace=False))
        for place in range(4):
            relevant = place % 2 == 0
            title = list(random.choice(words, size=5)) + (asked if relevant else [])
            queries.append(f"{asked[0]} {asked[1]} {number}")
            titles.append(" ".join(random.permutation(title)))
            targets.append(0.9 if relevant else 0.1)
    return Pairs("pairs.csv", "0" * 64, queries, titles, np.array(targets, dtype=np.float32))


@pytest.fixture(scope="session")
def parts(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Training and validation pairs."""
    return split_by_query(pairs)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    """A BERT of three layers, 32 wide, saved as checkpoints are: safetensors, prefix `bert.`."""
    folder = tmp_path_factory.mktemp("encoder")
    # Not trained: WordPieceTrainer makes another vocabulary, so other students, in every run.
    # Without [MASK], which a checkpoint may lack.
    pieces = word_pieces([*pairs.queries, *pairs.titles], 300)
    tokens = [token for token in pieces if token != "[MASK]"]
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    torch.manual_seed(1)
    weights = BertModel(config).state_dict()
    save_file(
        {f"bert.{name}": each for name, each in weights.items()}, folder / "model.safetensors"
    )
    return folder


@pytest.fixture(scope="session")
def train_kind(parts: tuple[Pairs, Pairs], encoder_folder: Path) -> TrainKind:
    """Enough epochs for scores to differ: encoders need fewer than the bags of words."""

    def run(kind: str, out: Path, *, seed: int = 0) -> Checkpoint:
        options = TrainOptions(seed=seed, epochs=6, batch_size=32)
        if kind not in BAGS:
            options = TrainOptions(
                seed=seed,
                epochs=2,
                batch_size=64,
                encoder=encoder_folder,
                encoder_learning_rate=1e-3,
            )
        train(kind, *parts, out, options, Silence())
        return load_checkpoint(out)

    return run


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, train_kind: TrainKind
) -> dict[str, Checkpoint]:
    """Checkpoints; tests don't change them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: train_kind(kind, folder / kind) for kind in KINDS}


@pytest.fixture(scope="session")
def traced(trained: dict[str, Checkpoint]) -> dict[str, dict[str, ModelProto]]:
    """The graphs of each kind, weights inline; traced once more than for `exported`."""
    return {kind: dict(trace_graphs(trained[kind].student).items()) for kind in KINDS}


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry that `exported` lies in."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="session")
def exported(trained: dict[str, Checkpoint], pairs: Pairs, registry: Path) -> dict[str, Exported]:
    """A published bundle of each kind; tests don't change them."""
    return {
        kind: export_bundle(trained[kind], pairs, registry, publication(kind)) for kind in KINDS
    }
