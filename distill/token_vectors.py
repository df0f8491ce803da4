"""A text's tokens as a pretrained encoder sees them, by ONNX Runtime; no torch here.

encoder.onnx              token ids int64 [1, T] -> layers float32 [K, T, H]; int8 weights
encoder_tokenizer.json    of the encoder; it cuts a text to as many tokens as the encoder is asked

Texts run one at a time. An int8 graph takes one scale per run, so in a batch the vectors of a text
would move with the texts beside it; of 20 tokens or so, a batch would save little besides.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from distill.errors import TeacherRefused
from distill.pair_tokens import vocabulary_size

GRAPH_FILE = "encoder.onnx"
ENCODER_TOKENIZER_FILE = "encoder_tokenizer.json"
ENCODER_FILES = (GRAPH_FILE, ENCODER_TOKENIZER_FILE)
INPUT, OUTPUT = "token_ids", "layers"

# English: a title's noun stands before the first of these ("Drill with Case, 18 V (2 Pack)").
_AFTER_THE_NOUN = re.compile(r"(?<=\w)\s+(?:with|in|for)\b|[,(]", re.IGNORECASE)


class TokenVectors(NamedTuple):
    """A text of T tokens, n of them its own; the others are the encoder's, as [CLS].

    layers: float32 [K, T, H], the encoder's last layer last
    own: bool [T]
    pieces: ids of its own tokens, int64 [n]
    head: of its own tokens, how many stand before the first "with", "in", "for", comma or bracket;
        at least 1 where there is one
    """

    layers: NDArray[np.float32]
    own: NDArray[np.bool_]
    pieces: NDArray[np.int64]
    head: int


class TokenEncoder:
    """Gives vectors of tokens; a text's depend on nothing else."""

    def __init__(self, files: Mapping[str, bytes], threads: int | None = None) -> None:
        """Opens the files that `token_encoder_files` made; it runs `threads` texts at a time.

        Args:
            files: content of each of ENCODER_FILES, by name.
            threads: None for all CPUs.

        Raises:
            TeacherRefused: one of them is damaged.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # a text is too short to be shared among CPUs
        options.log_severity_level = 3
        try:
            self._graph = ort.InferenceSession(
                files[GRAPH_FILE], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises classes of its own for every bad file
            raise TeacherRefused(f"{GRAPH_FILE}: not a whole ONNX graph: {error}") from error
        try:
            self._tokenizer = Tokenizer.from_buffer(files[ENCODER_TOKENIZER_FILE])
        except Exception as error:  # tokenizers raises bare Exception for every malformed file
            raise TeacherRefused(f"{ENCODER_TOKENIZER_FILE}: not a tokenizer: {error}") from error
        self._threads = threads
        self.files = files
        self.vocabulary: int = vocabulary_size(self._tokenizer)

    def vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The vectors of each text, in any number of threads."""
        encoded = self._tokenizer.encode_batch(list(texts))
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._of, encoded, texts))

    def _of(self, encoding: Encoding, text: str) -> TokenVectors:
        # Without special tokens an empty text has none at all, and a graph runs on one at least.
        ids = np.array(encoding.ids or [0], dtype=np.int64)
        own = np.array(encoding.special_tokens_mask or [1]) == 0
        layers = self._graph.run([OUTPUT], {INPUT: ids[np.newaxis]})[0]
        found = _AFTER_THE_NOUN.search(text)
        end = len(text) if found is None else found.start()
        starts = [start for start, _ in encoding.offsets or [(0, 0)]]
        head = sum(mine and start < end for mine, start in zip(own, starts, strict=True))
        return TokenVectors(layers, own, ids[own], max(1, int(head)))
