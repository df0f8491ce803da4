"""A student that labels as a teacher does: the assistant between teachers and a smaller student.

Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant" (AAAI 2020). What makes it
worth while here is its price: a student encodes each distinct text once, and a pair costs no more
than its head. Teachers label hundreds of thousands of pairs, an assistant millions.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.errors import TeacherRefused
from distill.teacher import choose_device
from export.checkpoint import STUDENT_FILE, WEIGHTS_FILE, Checkpoint, load_checkpoint
from export.errors import CheckpointRefused
from export.tokens import TokenRows
from model_store.digest import file_sha256
from model_store.tokenizer import Side, Tokenizer

_MOST_TEXTS = 500_000  # of a side whose rows are kept: 512 MB at 256 numbers each

Tower = Callable[[Tensor, Tensor], Tensor]


class Assistant:
    """A student's checkpoint that scores pairs."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, sha256: str) -> None:
        """`load_assistant` makes one of a folder."""
        student = checkpoint.student
        self.sha256 = sha256
        self._head = student.head
        self._device = device
        self._queries = _Rows(student.query, checkpoint.tokenizer, "query", device)
        self._titles = _Rows(student.product, checkpoint.tokenizer, "product", device)

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Log odds of relevance of n aligned pairs, float32 [n]."""
        with torch.inference_mode():
            q_Nd, p_Nd = self._queries.of(queries), self._titles.of(titles)
            logit_N: Tensor = self._head(q_Nd, p_Nd)
        logits: NDArray[np.float32] = logit_N.float().cpu().numpy()
        return logits


class _Rows:
    """Rows of the texts of one side, kept from call to call."""

    def __init__(
        self, tower: Tower, tokenizer: Tokenizer, side: Side, device: torch.device
    ) -> None:
        self._tower, self._tokenizer, self._side = tower, tokenizer, side
        self._device = device
        self._row: dict[str, Tensor] = {}

    def of(self, texts: Sequence[str]) -> Tensor:
        """Rows float32 [n, d] of n texts."""
        if len(self._row) + len(texts) > _MOST_TEXTS:
            self._row.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._row]
        if new:
            tokens = TokenRows(self._tokenizer, new, self._side)
            # One by one: a row must not depend on the texts that are new beside it, or labels
            # would depend on where a job was stopped.
            for row, text in enumerate(new):
                ids, mask = tokens.batch(np.array([row]))
                self._row[text] = self._tower(ids.to(self._device), mask.to(self._device))[0]
        return torch.stack([self._row[text] for text in texts])


def load_assistant(folder: Path, device: str | None = None) -> Assistant:
    """Opens the checkpoint that `winnow train` wrote.

    Raises:
        TeacherRefused: it is no whole checkpoint, it has learned an order of products and no
            probabilities, or the device isn't there.
    """
    chosen = choose_device(device)
    try:
        checkpoint = load_checkpoint(folder)
    except CheckpointRefused as error:
        raise TeacherRefused(str(error)) from error
    learned = checkpoint.training
    order_alone = learned.get("objective") == "pairwise" or (
        learned.get("objective") == "listwise" and not learned.get("pointwise_weight")
    )
    if order_alone:
        raise TeacherRefused(
            f"{folder}: expected a student whose logits are log odds of relevance, got one that "
            f"has learned an order of products alone (objective {learned['objective']}): go on "
            "from it with labels of pairs (winnow train --start), and label with that"
        )
    cast(nn.Module, checkpoint.student).to(chosen)
    return Assistant(checkpoint, chosen, _sha256(folder))


def _sha256(folder: Path) -> str:
    """sha256 of everything that decides a logit: weights, sizes, and the tokenizer's files."""
    described = json.loads((folder / STUDENT_FILE).read_bytes())
    decides = {name: described[name] for name in ("student", "config", "tokenizer")}
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    for name in (WEIGHTS_FILE, *described["tokenizer"]["files"]):
        digest.update(file_sha256(folder / name).encode())
    return digest.hexdigest()
