"""A pretrained encoder made the graph and the tokenizer that token_vectors.py runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from distill.errors import TrainingRefused
from distill.pretrained import check_vocabulary, load_encoder, load_tokenizer, most_tokens
from distill.token_vectors import ENCODER_TOKENIZER_FILE, GRAPH_FILE, INPUT, OUTPUT
from export.graphs import quiet_exporter, stripped
from export.quantise import dynamically_quantised

_MOST_TOKENS = 64  # of a text: titles carry their essence in front
_OPSET = 20  # the first with Gelu
_LARGEST_PROTOBUF = 2**31


class _Layers(nn.Module):
    """Ids int64 [1, T] -> what the encoder's layers say of each token, float32 [K, T, H]."""

    def __init__(self, encoder: nn.Module, layers: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, tuple(layers)

    def forward(self, token_ids: Tensor) -> Tensor:
        mask = torch.ones_like(token_ids)
        found = self.encoder(input_ids=token_ids, attention_mask=mask, output_hidden_states=True)
        return torch.cat([found.hidden_states[layer] for layer in self.layers], dim=0)


def token_encoder_files(encoder: Path) -> dict[str, bytes]:
    """The content of ENCODER_FILES, by name.

    Of its layers, the one two thirds of the way up and the last one are kept; the same encoder
    gives the same bytes.

    Args:
        encoder: folder of a checkpoint of any family that transformers has.

    Raises:
        EncoderRefused: no whole encoder there, or a tokenizer that is not its own.
        TrainingRefused: too large for one ONNX file.
    """
    network: Any = load_encoder(encoder).eval()
    size = sum(weight.numel() * 4 for weight in network.parameters())
    if size >= _LARGEST_PROTOBUF:
        raise TrainingRefused(
            f"{encoder}: expected less than 2 GiB of weights, which one ONNX file can hold, got "
            f"{size:,} bytes: take a smaller encoder"
        )
    tokenizer = load_tokenizer(encoder)
    check_vocabulary(encoder, tokenizer.get_vocab_size(), network)
    limit = most_tokens(network, network.config)
    tokenizer.enable_truncation(min(_MOST_TOKENS, limit or _MOST_TOKENS))
    last = int(network.config.num_hidden_layers)
    graph = _traced(_Layers(network, (max(1, last * 2 // 3), last)))
    return {
        GRAPH_FILE: dynamically_quantised(graph).SerializeToString(deterministic=True),
        ENCODER_TOKENIZER_FILE: tokenizer.to_str(pretty=True).encode(),
    }


def _traced(module: _Layers) -> onnx.ModelProto:
    encoder: Any = module.encoder
    encoder.set_attn_implementation("eager")  # plain products, which ONNX Runtime fuses itself
    with quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            (torch.ones((1, 7), dtype=torch.int64),),
            dynamo=True,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({1: "length"},),
            verbose=False,
        )
    assert program is not None  # noqa: S101 (None is for the exporter we don't use)
    return stripped(program.model_proto, "encoder")
