"""Small random encoders of several families on disk, as transformers saves them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from distill.new_encoder import word_pieces

FAMILIES = ("bert", "electra", "distilbert", "roberta")

_SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.2,  # so that texts differ in what comes out
}


def write_encoder(family: str, folder: Path, texts: Sequence[str]) -> Path:
    """An encoder of the family, two layers, 32 wide, with a tokenizer trained on the texts."""
    tokenizer = _byte_pairs(texts) if family == "roberta" else _word_pieces(texts)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    build: dict[str, Callable[[int], transformers.PreTrainedModel]] = {
        "bert": _bert,
        "electra": _electra,
        "distilbert": _distilbert,
        "roberta": _roberta,
    }
    build[family](tokenizer.get_vocab_size()).save_pretrained(folder)
    return folder


def _bert(vocabulary: int) -> transformers.PreTrainedModel:
    config = transformers.BertConfig(vocab_size=vocabulary, max_position_embeddings=40, **_SIZES)
    return transformers.BertModel(config)


def _electra(vocabulary: int) -> transformers.PreTrainedModel:
    """Its embeddings are narrower than its layers."""
    config = transformers.ElectraConfig(
        vocab_size=vocabulary, max_position_embeddings=40, embedding_size=16, **_SIZES
    )
    return transformers.ElectraForPreTraining(config)


def _distilbert(vocabulary: int) -> transformers.PreTrainedModel:
    config = transformers.DistilBertConfig(
        vocab_size=vocabulary,
        max_position_embeddings=40,
        n_layers=2,
        dim=32,
        n_heads=2,
        hidden_dim=64,
        initializer_range=0.2,
    )
    return transformers.DistilBertModel(config)


def _roberta(vocabulary: int) -> transformers.PreTrainedModel:
    """Its positions start behind the padding id, 1, and it has one segment."""
    config = transformers.RobertaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=42,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **_SIZES,
    )
    return transformers.RobertaForMaskedLM(config)


def _word_pieces(texts: Sequence[str]) -> Tokenizer:
    """Not trained: WordPieceTrainer makes another vocabulary, so another teacher, in every run."""
    numbers = {token: number for number, token in enumerate(word_pieces(texts, 300))}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=ends,
    )
    return tokenizer


def _byte_pairs(texts: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer
