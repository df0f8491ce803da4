"""Each student against its paper's equations, written out once more as plain loops."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.students import build_student
from export.students.bag import Bag
from export.students.bert2dnn import Bert2DnnConfig, Bert2DnnFc
from export.students.deepdot import DeepDot, DeepDotConfig
from export.students.encoder import EncoderConfig
from export.students.reprbert import (
    ContextGuidedAttention,
    ReprBert,
    ReprBertConfig,
    interaction,
)
from export.students.student import Student, row_width


def _encoder(layers: int) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )


def _students() -> list[Student]:
    torch.manual_seed(3)
    students: list[Student] = [
        Bert2DnnFc(Bert2DnnConfig(vocabulary=50, width=8, hidden=(32, 16, 8, 4))),
        DeepDot(DeepDotConfig(vocabulary=50, width=8, hidden=(32, 16, 8, 4), output=6)),
        *(ReprBert(ReprBertConfig(encoder=_encoder(layers), projection=4)) for layers in (1, 2, 3)),
    ]
    return [student.eval() for student in students]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


STUDENTS = _students()
NAMES = [f"{student.kind}-{row_width(student.product_segments)}" for student in STUDENTS]


def _texts(*lengths: int) -> tuple[Tensor, Tensor]:
    """Random texts of those lengths, padded with an id that must not matter."""
    ids = torch.from_numpy(np.random.default_rng(5).integers(4, 50, (len(lengths), max(lengths))))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask


def test_bag_is_sum_over_root_of_known_tokens() -> None:
    bag = Bag(vocabulary=9, width=4)
    ids, mask = (
        torch.tensor([[3, 3, 7, 0], [5, 0, 0, 0]]),
        torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]),
    )
    table = bag.E.weight
    expected = torch.stack([(2 * table[3] + table[7]) / math.sqrt(3), table[5]])
    torch.testing.assert_close(bag(ids, mask), expected)


def test_bag_of_no_known_token_is_zero() -> None:
    bag = Bag(vocabulary=9, width=4)
    assert not bag(torch.tensor([[2, 4]]), torch.tensor([[0, 0]])).any()


def test_bert2dnn_split_layer_equals_mlp_on_concatenation() -> None:
    student = STUDENTS[0]
    assert isinstance(student, Bert2DnnFc)
    queries, products = _texts(4, 2, 6), _texts(9, 3, 5)
    x = torch.cat([student.bag(*queries), student.bag(*products)], dim=1)
    W1 = torch.cat([student.W1_q.weight, student.W1_p.weight], dim=1)
    x = torch.relu(x @ W1.T + student.W1_q.bias)
    for layer in student.layers:
        assert isinstance(layer, nn.Linear)
        x = torch.relu(x @ layer.weight.T + layer.bias)
    expected = (x @ student.out.weight.T + student.out.bias)[:, 0]
    torch.testing.assert_close(student(*queries, *products), expected)


def test_bert2dnn_has_the_papers_sizes() -> None:
    student = Bert2DnnFc(Bert2DnnConfig(vocabulary=10))
    parameters = sum(each.numel() for each in student.parameters()) - 10 * 64
    assert parameters == 435_713  # 128 -> 1024 -> 256 -> 128 -> 64 -> 1, with biases


def test_deepdot_is_the_dot_of_two_unshared_towers() -> None:
    student = STUDENTS[1]
    assert isinstance(student, DeepDot)
    queries, products = _texts(4, 2), _texts(5, 3)
    rows = []
    for tower, texts in ((student.tower_q, queries), (student.tower_p, products)):
        x = student.bag(*texts)
        linear = [layer for layer in tower if isinstance(layer, nn.Linear)]
        for layer in linear[:-1]:
            x = (x @ layer.weight.T + layer.bias).clamp(min=0.0)
        rows.append(x @ linear[-1].weight.T + linear[-1].bias)
    expected = torch.stack([rows[0][i] @ rows[1][i] for i in range(2)]) + student.b
    torch.testing.assert_close(student(*queries, *products), expected)
    assert not torch.equal(rows[0], student.tower_p(student.bag(*queries)))


def test_cga_by_loops() -> None:
    torch.manual_seed(2)
    cga = ContextGuidedAttention(hidden=6, projection=4)
    W = cga.W.weight
    states, mask = torch.randn(2, 5, 6), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = []
    for text in range(2):
        words = range(1, int(mask[text].sum()) - 1)  # between [CLS] and [SEP]
        Q = W @ states[text, 0]
        K = [W @ states[text, j] for j in words]
        weights = [math.exp(float(Q @ k) / math.sqrt(4)) for k in K]
        expected.append(sum(w / sum(weights) * k for w, k in zip(weights, K, strict=True)))
    torch.testing.assert_close(cga(states, mask), torch.stack(expected))  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [2, 5], ids=["nothing else in the batch", "padded"])
def test_cga_of_an_empty_text_is_its_query(length: int) -> None:
    cga = ContextGuidedAttention(hidden=6, projection=4)
    states = torch.randn(1, length, 6)
    mask = (torch.arange(length) < 2).long()[None]
    torch.testing.assert_close(cga(states, mask), cga.W(states[:, 0]))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_reprbert_head_by_loops(layers: int) -> None:
    torch.manual_seed(layers)
    student = ReprBert(ReprBertConfig(encoder=_encoder(layers), projection=4))
    nn.init.normal_(student.pool)
    q, p = torch.randn(3, 4 * layers), torch.randn(3, 4 * layers)
    expected = []
    for pair in range(3):
        r = []
        for layer in range(layers):
            a, b = p[pair, 4 * layer : 4 * layer + 4], q[pair, 4 * layer : 4 * layer + 4]
            r.append(torch.tensor([*map(max, a, b), *(a - b), *(a + b)]))
        late = r.pop()
        if r:
            scale = [math.exp(w) for w in student.pool.tolist()]
            pooled = sum(w / sum(scale) * each for w, each in zip(scale, r, strict=True))
            late = torch.tensor([max(x, y) for x, y in zip(pooled, late, strict=True)])  # type: ignore[arg-type]
        hidden = [
            max(0.0, float(row @ late) + float(b))
            for row, b in zip(student.mlp1.weight, student.mlp1.bias, strict=True)
        ]
        y = (student.W2(torch.tensor(hidden) + late)).softmax(dim=0)
        expected.append(float(y[1]))
    torch.testing.assert_close(torch.sigmoid(student.head(q, p)), torch.tensor(expected))


def test_interaction_is_asymmetric() -> None:
    p, q = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 2.0]])
    assert interaction(p, q).tolist() == [[3.0, 5.0, -2.0, 3.0, 4.0, 7.0]]


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_a_row_does_not_depend_on_its_batch(student: Student) -> None:
    together = student.product(*_texts(11, 3, 2, 7))
    ids, mask = _texts(11, 3, 2, 7)
    for row, length in enumerate((11, 3, 2, 7)):
        alone = student.product(ids[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_padded_places_are_never_read(student: Student) -> None:
    ids, mask = _texts(8, 3)
    other = torch.where(mask > 0, ids, 49)
    torch.testing.assert_close(student.query(ids, mask), student.query(other, mask))


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_rows_are_as_wide_as_their_segments(student: Student) -> None:
    ids, mask = _texts(5, 2)
    q, p = student.query(ids, mask), student.product(ids, mask)
    assert q.shape == (2, row_width(student.query_segments))
    assert p.shape == (2, row_width(student.product_segments))
    for segments in (student.query_segments, student.product_segments):
        ends = [offset + width for offset, width in segments.values()]
        assert [0, *ends[:-1]] == [offset for offset, _ in segments.values()]


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_one_query_scores_many_products(student: Student) -> None:
    q, p = student.query(*_texts(4)), student.product(*_texts(5, 9, 3))
    torch.testing.assert_close(student.head(q, p), student.head(q.expand(3, -1), p))


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_its_config_builds_it_again(student: Student) -> None:
    again = build_student(student.kind, student.config.model_dump(mode="json"))
    again.load_state_dict(student.state_dict())
    texts = (*_texts(4, 6), *_texts(5, 3))
    assert torch.equal(student(*texts), again.eval()(*texts))
