"""Trains the shop's three students on its train split and publishes them.

    python examples/shop/train.py [--bundles DIR] [--work DIR]

Everything goes through the `winnow` command, as a search team's own students would. ReprBERT's
encoder is a small BERT of the shop's own vocabulary, trained from scratch with the student: a
pretrained encoder would be better and fifty times larger than what a repository should carry.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from model_store.registry import DEFAULT_ROOT, next_version

SHOP = Path(__file__).parent
WINNOW = str(Path(sys.executable).parent / "winnow")
RELEVANT_FROM = 2.0  # examples/shop/README.md
SEED = 7
# Soft targets by grade: a wrong attribute is not as wrong as another kind of thing.
TARGETS = {3.0: 0.97, 2.0: 0.8, 1.0: 0.15, 0.0: 0.02}
# Minimum frequencies by validation AUC; rarer tokens would also make the bundles larger.
STUDENTS = {
    "bert2dnn": ["--epochs", "12", "--patience", "3", "--minimum-frequency", "4"],
    "deepdot": ["--epochs", "20", "--patience", "3", "--minimum-frequency", "8"],
    "reprbert": ["--epochs", "20", "--patience", "4", "--learning-rate", "5e-4", "--from-scratch"],
}
# Sizes of the small encoder, in the words of a BERT config.json.
ENCODER = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "hidden_act": "gelu",
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "pad_token_id": 0,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def main() -> None:
    """Trains, exports and activates every student."""
    parser = argparse.ArgumentParser(description="train and publish the example shop's students")
    parser.add_argument("--bundles", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--work", type=Path, default=SHOP.parent.parent / ".data" / "shop-training")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    titles = _titles()
    for split in ("train", "valid"):
        _write_pairs(split, titles, options.work / f"pairs.{split}.csv")
    _write_encoder(options.work, titles)
    for student, training in STUDENTS.items():
        _train(student, training, options.work)
        _export(student, options.work, options.bundles)


def _titles() -> dict[str, str]:
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        return {row["product_id"]: row["title"] for row in csv.DictReader(file)}


def _write_pairs(split: str, titles: dict[str, str], path: Path) -> None:
    """Judgements as (query, title, target)."""
    source = SHOP / f"judgments.{split}.csv"
    with (
        source.open(encoding="utf-8", newline="") as judged,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["query", "title", "target"])
        for row in csv.DictReader(judged):
            target = TARGETS[float(row["relevance"])]
            writer.writerow([row["query"], titles[row["product_id"]], target])


def _write_encoder(work: Path, titles: dict[str, str]) -> None:
    """config.json and tokenizer.json of an encoder without weights, vocabulary from the shop."""
    with (work / "pairs.train.csv").open(encoding="utf-8", newline="") as file:
        queries = {row["query"] for row in csv.DictReader(file)}
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=3000, min_frequency=2, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(sorted([*queries, *titles.values()]), trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    folder = work / "encoder"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {**ENCODER, "vocab_size": tokenizer.get_vocab_size()}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _train(student: str, training: list[str], work: Path) -> None:
    encoder = ["--encoder", str(work / "encoder")] if student == "reprbert" else []
    _winnow(
        *("train", "--student", student, "--out", str(work / student), "--seed", str(SEED)),
        *("--pairs", str(work / "pairs.train.csv")),
        *("--validation", str(work / "pairs.valid.csv")),
        *encoder,
        *training,
    )


def _export(student: str, work: Path, bundles: Path) -> None:
    name = f"shop-{student}"
    _winnow(
        *("export", str(work / student), "--name", name, "--bundles", str(bundles)),
        *("--version", next_version(bundles, name), "--set-current"),
        *("--pairs", str(work / "pairs.valid.csv")),
        *("--judgments", str(SHOP / "judgments.test.csv"), "--relevant-from", str(RELEVANT_FROM)),
        *("--products", str(SHOP / "products.csv"), "--dataset", "examples/shop"),
        *("--split", "test"),
    )


def _winnow(*arguments: str) -> None:
    subprocess.run([WINNOW, *arguments], check=True)


if __name__ == "__main__":
    main()
