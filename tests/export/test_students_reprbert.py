"""ReprBERT and its ablations against the paper's equations, written out as plain loops."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from export.checkpoint import Checkpoint, load_checkpoint
from export.students.pooling import ContextGuidedAttention, MeanOfWords, Pooling, pooled
from export.students.reprbert import ReprBert, ReprBertConfig, interaction
from export.students.student import DenseHead
from tests.export.small import encoder_config, random_texts

# (L, late, intermediate): every combination that leaves something to interact
VARIANTS = [
    *((layers, True, True) for layers in (1, 2, 3, 4)),
    *((layers, False, True) for layers in (2, 3, 4)),
    *((layers, True, False) for layers in (1, 2, 4)),
]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _student(layers: int, *, late: bool, intermediate: bool, attention: bool = True) -> ReprBert:
    torch.manual_seed(layers)
    config = ReprBertConfig(
        encoder=encoder_config(layers),
        projection=4,
        late=late,
        intermediate=intermediate,
        attention=attention,
    )
    student = ReprBert(config).eval()
    nn.init.normal_(student.pool)  # equal weights would hide a wrong order
    return student


def _words(states: Tensor, mask: Tensor, text: int) -> list[Tensor]:
    """States of a text's tokens between [CLS] and [SEP]."""
    return [states[text, j] for j in range(1, int(mask[text].sum()) - 1)]


def test_cga_by_loops() -> None:
    torch.manual_seed(2)
    cga = ContextGuidedAttention(hidden=6, projection=4)
    W = cga.W.weight
    states, mask = torch.randn(2, 5, 6), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = []
    for text in range(2):
        Q = W @ states[text, 0]
        K = [W @ word for word in _words(states, mask, text)]
        weights = [math.exp(float(Q @ k) / math.sqrt(4)) for k in K]
        expected.append(sum(w / sum(weights) * k for w, k in zip(weights, K, strict=True)))
    torch.testing.assert_close(cga(states, mask), torch.stack(expected))  # type: ignore[arg-type]


def test_without_attention_all_words_count_alike() -> None:
    mean = MeanOfWords(hidden=6, projection=4)
    states, mask = torch.randn(2, 5, 6), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = [
        mean.W.weight @ torch.stack(_words(states, mask, text)).mean(dim=0) for text in range(2)
    ]
    torch.testing.assert_close(mean(states, mask), torch.stack(expected))


@pytest.mark.parametrize("vector", [ContextGuidedAttention, MeanOfWords])
@pytest.mark.parametrize("length", [2, 5], ids=["nothing else in the batch", "padded"])
def test_an_empty_text_is_its_cls(
    vector: type[ContextGuidedAttention | MeanOfWords], length: int
) -> None:
    module = vector(hidden=6, projection=4)
    states = torch.randn(1, length, 6)
    mask = (torch.arange(length) < 2).long()[None]
    torch.testing.assert_close(module(states, mask), module.W(states[:, 0]))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooled_by_loops(pooling: Pooling) -> None:
    states, mask = torch.randn(2, 5, 6), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = [states[0, 0], states[1, 0]]
    if pooling == "mean":
        expected = [sum(states[0], torch.zeros(6)) / 5, sum(states[1, :3], torch.zeros(6)) / 3]
    torch.testing.assert_close(pooled(states, mask, pooling), torch.stack(expected))


def test_interaction_is_asymmetric() -> None:
    p, q = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 2.0]])
    assert interaction(p, q).tolist() == [[3.0, 5.0, -2.0, 3.0, 4.0, 7.0]]


@pytest.mark.parametrize(("layers", "late", "intermediate"), VARIANTS)
def test_head_by_loops(layers: int, late: bool, intermediate: bool) -> None:
    student = _student(layers, late=late, intermediate=intermediate)
    vectors = (layers - 1 if intermediate else 0) + (1 if late else 0)
    q, p = torch.randn(3, 4 * vectors), torch.randn(3, 4 * vectors)
    expected = []
    for pair in range(3):
        terms = []
        for vector in range(vectors):
            a, b = (side[pair, 4 * vector : 4 * vector + 4] for side in (p, q))
            terms.append(torch.tensor([*map(max, a, b), *(a - b), *(a + b)]))
        r_late = terms.pop() if late else torch.full((12,), -math.inf)
        r_int = torch.full((12,), -math.inf)
        if terms:
            scale = [math.exp(weight) for weight in student.pool.tolist()]
            r_int = torch.zeros(12)
            for weight, term in zip(scale, terms, strict=True):
                r_int += weight / sum(scale) * term
        r = torch.tensor([max(x, y) for x, y in zip(r_int.tolist(), r_late.tolist(), strict=True)])
        hidden = [
            max(0.0, float(row @ r) + float(bias))
            for row, bias in zip(student.mlp1.weight, student.mlp1.bias, strict=True)
        ]
        expected.append(float(student.W2(torch.tensor(hidden) + r).softmax(dim=0)[1]))
    torch.testing.assert_close(torch.sigmoid(student.head(q, p)), torch.tensor(expected))


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize(("layers", "late", "intermediate"), VARIANTS)
def test_a_row_holds_the_layers_that_are_read(
    layers: int, late: bool, intermediate: bool, attention: bool
) -> None:
    student = _student(layers, late=late, intermediate=intermediate, attention=attention)
    kept = [number for number in range(1, layers) if intermediate] + [layers] * late
    assert student.product_segments == {
        f"layer{number}": (4 * place, 4) for place, number in enumerate(kept)
    }
    ids, mask = random_texts(7, 3)
    states = student.encoder(
        input_ids=ids, attention_mask=mask, output_hidden_states=True
    ).hidden_states
    assert len(states) == 1 + max(kept)  # no layer is built that nothing reads
    for rows, vectors in (
        (student.query(ids, mask), student.cga_q),
        (student.product(ids, mask), student.cga_p),
    ):
        expected = [vectors[i](states[number], mask) for i, number in enumerate(kept)]
        torch.testing.assert_close(rows, torch.cat(expected, dim=1))


def _kernel_logits(head: DenseHead, q: np.ndarray, P: np.ndarray) -> np.ndarray:
    """The formula in model_store/head_kernel.py, as numpy loops over vectors."""
    p_parts, q_parts = (np.split(x, head.vectors, axis=1) for x in (P, q))
    terms = [
        np.concatenate([np.maximum(p, v), p - v, p + v], axis=1)
        for p, v in zip(p_parts, q_parts, strict=True)
    ]
    r = terms[-1]
    assert head.pool is not None
    assert head.pool.shape == (head.vectors - 1,)
    if len(terms) > 1:
        pooled_terms = sum(w * term for w, term in zip(head.pool, terms[:-1], strict=True))
        r = np.maximum(pooled_terms, r)
    ((W1, b1),) = head.layers
    logits: np.ndarray = (np.maximum(r @ W1 + b1, 0) + r) @ head.last + head.last_bias
    return logits


@pytest.mark.parametrize(("layers", "late", "intermediate"), VARIANTS)
def test_the_fused_head_is_the_same_head_or_none(
    layers: int, late: bool, intermediate: bool
) -> None:
    student = _student(layers, late=late, intermediate=intermediate)
    head = student.dense_head()
    if not late and layers > 2:
        assert head is None  # a pool of several vectors and no late one: no kernel has it
        return
    assert head is not None
    width = 4 * head.vectors
    q, P = torch.randn(1, width), torch.randn(6, width)
    np.testing.assert_allclose(
        _kernel_logits(head, q.numpy(), P.numpy()), student.head(q, P).numpy(), atol=1e-5
    )


def test_a_student_without_any_interaction_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected late or intermediate interaction"):
        ReprBertConfig(encoder=encoder_config(2), late=False, intermediate=False)
    with pytest.raises(ValidationError, match="at least 2 layers"):
        ReprBertConfig(encoder=encoder_config(1), late=False)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_tensors_are_named_as_they_were_before_the_ablations(layers: int) -> None:
    student = _student(layers, late=True, intermediate=True)
    names = {name for name in student.state_dict() if not name.startswith("encoder.")}
    assert names == {
        *(f"cga_{side}.{layer}.W.weight" for side in "qp" for layer in range(layers)),
        *("pool", "mlp1.weight", "mlp1.bias", "W2.weight", "W2.bias"),
    }
    assert student.pool.shape == (layers - 1,)


def test_a_student_json_from_before_the_ablations_is_the_whole_student(
    tmp_path: Path, trained: dict[str, Checkpoint]
) -> None:
    new = trained["reprbert"]
    written = json.loads((new.folder / "student.json").read_text())
    for flag in ("late", "intermediate", "attention"):
        assert written["config"].pop(flag) is True
    (tmp_path / "student.json").write_text(json.dumps(written))
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((new.folder / name).read_bytes())
    assert load_checkpoint(tmp_path).student.config == new.student.config
