"""Logits as training computes them: those of the student itself, each text encoded once."""

import numpy as np
import pytest
import torch

from distill.student_pairs import StudentPairs
from export.checkpoint import Checkpoint
from export.pairs import Pairs
from export.tokens import TokenRows
from tests.export.small import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_students(
    kind: str, parts: tuple[Pairs, Pairs], trained: dict[str, Checkpoint]
) -> None:
    checkpoint, pairs = trained[kind], parts[0]
    on_pairs = StudentPairs(checkpoint.student, checkpoint.tokenizer, pairs, torch.device("cpu"))
    chosen = np.random.default_rng(0).integers(len(pairs), size=150)  # some of them twice
    queries = TokenRows(checkpoint.tokenizer, pairs.queries, "query")
    titles = TokenRows(checkpoint.tokenizer, pairs.titles, "product")
    with torch.inference_mode():
        logits = on_pairs.logits(chosen)
        expected = checkpoint.student(
            *queries.batch(queries.text_row[chosen]), *titles.batch(titles.text_row[chosen])
        )
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert on_pairs.soft[chosen].tolist() == pairs.targets[chosen].tolist()


@pytest.mark.parametrize("kind", ["bert2dnn", "deepdot"])
def test_a_bag_in_training_adds_up_the_same_tokens(
    kind: str, parts: tuple[Pairs, Pairs], trained: dict[str, Checkpoint]
) -> None:
    student = trained[kind].student
    texts = [*parts[0].titles[:20], "", "nothing known: zzz"]
    ids, mask = TokenRows(trained[kind].tokenizer, texts, "product").batch(np.arange(22))
    gradients = []
    for training in (True, False):
        student.train(training)
        with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
            rows = student.product(ids, mask)
            (gradient,) = torch.autograd.grad(
                rows.square().sum(), dict(student.named_parameters())["bag.E.weight"]
            )
        gradients.append((rows.detach(), gradient.to_dense()))
    student.eval()
    torch.testing.assert_close(*(rows for rows, _ in gradients))
    torch.testing.assert_close(*(gradient for _, gradient in gradients), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert2dnn", "reprbert"])
def test_a_text_of_a_batch_is_encoded_once(
    kind: str,
    parts: tuple[Pairs, Pairs],
    trained: dict[str, Checkpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, pairs = trained[kind], parts[0]
    on_pairs = StudentPairs(checkpoint.student, checkpoint.tokenizer, pairs, torch.device("cpu"))
    encoded: list[int] = []
    query = checkpoint.student.query

    def counted(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        encoded.append(len(ids))
        return query(ids, mask)

    monkeypatch.setattr(checkpoint.student, "query", counted)
    chosen = np.arange(200)  # four pairs of each query
    with torch.inference_mode():
        on_pairs.query_rows(chosen)
    assert sum(encoded) == len({pairs.queries[row] for row in chosen})
