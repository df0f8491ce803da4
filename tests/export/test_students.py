"""What holds for every student, and the bags of words against their paper's equations."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from export.students import build_student
from export.students.bag import Bag
from export.students.bert2dnn import Bert2DnnConfig, Bert2DnnFc
from export.students.deepdot import DeepDot, DeepDotConfig
from export.students.listbert import ListBert, ListBertConfig
from export.students.poly import Poly, PolyConfig
from export.students.reprbert import ReprBert, ReprBertConfig
from export.students.siamese import Siamese, SiameseConfig
from export.students.student import Student, row_width
from tests.export.small import encoder_config, random_texts


def _reprbert(
    layers: int, *, late: bool = True, intermediate: bool = True, attention: bool = True
) -> ReprBert:
    config = ReprBertConfig(
        encoder=encoder_config(layers),
        projection=4,
        late=late,
        intermediate=intermediate,
        attention=attention,
    )
    return ReprBert(config)


def _deepdot() -> DeepDot:
    student = DeepDot(DeepDotConfig(vocabulary=50, width=8, hidden=(32, 16, 8, 4), output=6))
    for weights in student.tower_p.parameters():  # which begins as the query's
        nn.init.normal_(weights, std=0.3)
    return student


def _students() -> list[Student]:
    torch.manual_seed(3)
    students: list[Student] = [
        Bert2DnnFc(Bert2DnnConfig(vocabulary=50, width=8, hidden=(32, 16, 8, 4))),
        _deepdot(),
        DeepDot(DeepDotConfig(vocabulary=50, width=8, not_counted=(4, 7))),
        *(_reprbert(layers) for layers in (1, 2, 3)),
        _reprbert(2, late=False),
        _reprbert(4, late=False, attention=False),
        _reprbert(3, intermediate=False),
        Siamese(SiameseConfig(encoder=encoder_config(2))),
        Siamese(SiameseConfig(encoder=encoder_config(1), pooling="cls")),
        Poly(PolyConfig(encoder=encoder_config(2), codes=3)),
        ListBert(ListBertConfig(encoder=encoder_config(2), projection=6)),
    ]
    return [student.eval() for student in students]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


STUDENTS = _students()
NAMES = [f"{student.kind}-{place}" for place, student in enumerate(STUDENTS)]


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
    queries, products = random_texts(4, 2, 6), random_texts(9, 3, 5)
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
    queries, products = random_texts(4, 2), random_texts(5, 3)
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


def test_tokens_that_are_no_words_are_not_counted() -> None:
    bag = Bag(vocabulary=9, width=4, not_counted=(1, 2))
    ids, mask = (
        torch.tensor([[1, 3, 5, 2], [1, 2, 0, 0]]),
        torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
    )
    table = bag.E.weight
    expected = torch.stack([(table[3] + table[5]) / math.sqrt(2), torch.zeros(4)])
    torch.testing.assert_close(bag(ids, mask), expected)


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_a_row_does_not_depend_on_its_batch(student: Student) -> None:
    together = student.product(*random_texts(11, 3, 2, 7))
    ids, mask = random_texts(11, 3, 2, 7)
    for row, length in enumerate((11, 3, 2, 7)):
        alone = student.product(ids[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_padded_places_are_never_read(student: Student) -> None:
    ids, mask = random_texts(8, 3)
    other = torch.where(mask > 0, ids, 49)
    torch.testing.assert_close(student.query(ids, mask), student.query(other, mask))


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_rows_are_as_wide_as_their_segments(student: Student) -> None:
    ids, mask = random_texts(5, 2)
    q, p = student.query(ids, mask), student.product(ids, mask)
    assert q.shape == (2, row_width(student.query_segments))
    assert p.shape == (2, row_width(student.product_segments))
    for segments in (student.query_segments, student.product_segments):
        ends = [offset + width for offset, width in segments.values()]
        assert [0, *ends[:-1]] == [offset for offset, _ in segments.values()]


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_one_query_scores_many_products(student: Student) -> None:
    q, p = student.query(*random_texts(4)), student.product(*random_texts(5, 9, 3))
    torch.testing.assert_close(student.head(q, p), student.head(q.expand(3, -1), p))


@pytest.mark.parametrize("student", STUDENTS, ids=NAMES)
def test_its_config_builds_it_again(student: Student) -> None:
    again = build_student(student.kind, student.config.model_dump(mode="json"))
    again.load_state_dict(student.state_dict())
    texts = (*random_texts(4, 6), *random_texts(5, 3))
    assert torch.equal(student(*texts), again.eval()(*texts))
