"""The first layers of a BERT-type checkpoint on disk, as students take them; no formula here."""

import json
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from export.errors import EncoderRefused
from export.students.student import StudentConfig

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"


class EncoderConfig(StudentConfig):
    """What decides a BERT encoder's computation, under the names of its config.json."""

    vocab_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    hidden_act: Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"] = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = Field(ge=3)
    type_vocab_size: PositiveInt = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"expected hidden_size to be a multiple of num_attention_heads, got "
                f"{self.hidden_size} and {self.num_attention_heads}"
            )
        return self


def build_encoder(config: EncoderConfig) -> nn.Module:
    """A random encoder without pooler; its attention is eager, which ONNX repeats step by step."""
    bert = BertConfig(**config.model_dump() | {"attn_implementation": "eager"})
    encoder: nn.Module = BertModel(bert, add_pooling_layer=False)
    return encoder


def last_states(encoder: nn.Module, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
    """Hidden states of the encoder's last layer, float32 [N, T, H]."""
    states: Tensor = encoder(input_ids=token_ids_NT, attention_mask=token_mask_NT).last_hidden_state
    return states


def read_encoder_config(folder: Path, layers: int) -> EncoderConfig:
    """Sizes of the encoder's first `layers` layers.

    Raises:
        EncoderRefused: no BERT-type config.json there, or the encoder has fewer layers.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderRefused(
            f"{path}: expected the config.json of a BERT-type checkpoint: {error}"
        ) from error
    if not isinstance(config, dict) or config.get("model_type") != "bert":
        got = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise EncoderRefused(f'{path}: expected "model_type": "bert", got {got!r}')
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise EncoderRefused(
            f"{path}: expected absolute positions, got {config['position_embedding_type']!r}"
        )
    known = {name: config[name] for name in EncoderConfig.model_fields if name in config}
    try:
        whole = EncoderConfig.model_validate(known)
    except ValidationError as error:
        raise EncoderRefused(f"{path}: not a BERT configuration: {error}") from error
    if not 1 <= layers <= whole.num_hidden_layers:
        raise EncoderRefused(
            f"{path}: expected 1 to {whole.num_hidden_layers} layers (what this encoder has), "
            f"got {layers}"
        )
    return whole.model_copy(update={"num_hidden_layers": layers})


def load_encoder_weights(encoder: nn.Module, folder: Path) -> None:
    """Fills `encoder` with the first layers of the checkpoint in `folder`.

    Raises:
        EncoderRefused: no safetensors there, or they lack a tensor or hold it in another shape.
    """
    tensors = _stored(folder)
    wanted = encoder.state_dict()
    _check_tensors(tensors, wanted, folder / WEIGHTS_FILE)
    encoder.load_state_dict({name: tensors[name].to(torch.float32) for name in wanted})


def read_word_embeddings(folder: Path) -> Tensor:
    """The table of the checkpoint in `folder`, a row per token, float32 [V, H].

    Raises:
        EncoderRefused: no safetensors there, or none with such a table.
    """
    tensors = _stored(folder)
    table = tensors.get(WORD_EMBEDDINGS)
    if table is None or table.ndim != 2 or not bool(torch.isfinite(table).all()):
        got = "none" if table is None else f"shape {list(table.shape)}, or NaN or infinity in it"
        raise EncoderRefused(
            f"{folder / WEIGHTS_FILE}: expected {WORD_EMBEDDINGS}, finite, [tokens, width], "
            f"got {got}"
        )
    return table.to(torch.float32)


def _stored(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, under the names of today."""
    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise EncoderRefused(
            f"{folder}: expected {WEIGHTS_FILE}, found none. Save the checkpoint as safetensors "
            "(pickled pytorch_model.bin is never read), or ask for random layers with from_scratch."
        )
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise EncoderRefused(f"{path}: not a safetensors file: {error}") from error
    return {_current_name(name): tensor for name, tensor in stored.items()}


def _current_name(name: str) -> str:
    """Names of checkpoints saved with a task head, or converted from TensorFlow, as of today."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _check_tensors(tensors: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> None:
    if missing := [name for name in wanted if name not in tensors]:
        raise EncoderRefused(
            f"{path}: lacks {len(missing)} of the encoder's {len(wanted)} tensors, "
            f"first {missing[0]}; it holds {', '.join(sorted(tensors)[:3])}, ..."
        )
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise EncoderRefused(
                f"{path}: {name}: expected shape {list(tensor.shape)} after {CONFIG_FILE}, "
                f"got {list(tensors[name].shape)}"
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise EncoderRefused(f"{path}: {name}: holds NaN or infinity: take another checkpoint")
