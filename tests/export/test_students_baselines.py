"""Siamese, Poly-encoder and ListBERT's student against their formulas, written out as loops."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from export.students.encoder import last_states
from export.students.listbert import ListBert, ListBertConfig
from export.students.poly import Poly, PolyConfig
from export.students.siamese import Siamese, SiameseConfig
from export.students.similarity import Scale, unit
from tests.export.small import encoder_config, random_texts


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _states(student: Siamese | Poly | ListBert, texts: tuple[Tensor, Tensor]) -> list[Tensor]:
    """States of each text's tokens alone, [length, H]: no padding."""
    states = last_states(student.encoder, *texts)
    return [states[i, : int(length)] for i, length in enumerate(texts[1].sum(dim=1))]


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def test_siamese_is_a_scaled_cosine_of_means() -> None:
    torch.manual_seed(0)
    student = Siamese(SiameseConfig(encoder=encoder_config(2))).eval()
    a, b = 7.0, -2.0
    student.scale = Scale(a=a, c=-b / a)
    queries, products = random_texts(4, 2), random_texts(9, 3)
    expected = [
        a * _cosine(query.mean(dim=0), product.mean(dim=0)) + b
        for query, product in zip(
            _states(student, queries), _states(student, products), strict=True
        )
    ]
    torch.testing.assert_close(student(*queries, *products), torch.tensor(expected))


def test_siamese_may_take_cls() -> None:
    torch.manual_seed(0)
    student = Siamese(SiameseConfig(encoder=encoder_config(2), pooling="cls")).eval()
    texts = random_texts(5, 3)
    expected = torch.stack([state[0] / state[0].norm() for state in _states(student, texts)])
    torch.testing.assert_close(student.product(*texts), expected)


def test_listbert_projects_each_side_with_a_matrix_of_its_own() -> None:
    torch.manual_seed(1)
    student = ListBert(ListBertConfig(encoder=encoder_config(2), projection=6)).eval()
    nn.init.normal_(student.W_p.weight)
    queries, products = random_texts(4, 2), random_texts(9, 3)
    expected = []
    for query, product in zip(_states(student, queries), _states(student, products), strict=True):
        v_q = student.W_q.weight @ query.mean(dim=0)
        v_p = student.W_p.weight @ product.mean(dim=0)
        expected.append(5.0 * (_cosine(v_q, v_p) - 0.6))
    torch.testing.assert_close(student(*queries, *products), torch.tensor(expected))


def test_listbert_begins_with_what_its_encoder_knows() -> None:
    """A text is most like itself from the start, and each projection learns for itself."""
    student = ListBert(ListBertConfig(encoder=encoder_config(2), projection=6)).eval()
    texts = random_texts(4, 2)
    torch.testing.assert_close(student.query(*texts), student.product(*texts))
    assert student.W_q.weight is not student.W_p.weight
    assert student.W_q.weight.data_ptr() != student.W_p.weight.data_ptr()


def test_poly_mixes_the_querys_vectors_for_each_product() -> None:
    """The paper's form: attention of each code over the tokens, of the product over the codes."""
    torch.manual_seed(2)
    student = Poly(PolyConfig(encoder=encoder_config(2), codes=3)).eval()
    nn.init.normal_(student.codes)
    queries, products = random_texts(6, 2), random_texts(9, 3)
    expected = []
    for h, product in zip(_states(student, queries), _states(student, products), strict=True):
        y_p = product.mean(dim=0)
        y = []
        for code in student.codes:
            weights = [math.exp(float(code @ state)) for state in h]
            y.append(sum((w / sum(weights)) * x for w, x in zip(weights, h, strict=True)))
        weights = [math.exp(float(vector @ y_p)) for vector in y]
        mixed = sum(w / sum(weights) * vector for w, vector in zip(weights, y, strict=True))
        expected.append(1.3 * (float(mixed @ y_p) / math.sqrt(16) - 1.0))
    got = student(*queries, *products)
    torch.testing.assert_close(got, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.floats(0.01, 30.0))
def test_the_mixture_times_the_product_needs_only_the_dots(seed: int, m: int, size: float) -> None:
    """(sum_i w_i y_i) . y_p = sum_i w_i (y_i . y_p), in float64 against the head's float32."""
    student = Poly(PolyConfig(encoder=encoder_config(1), codes=m))
    random = np.random.default_rng(seed)
    y, p = size * random.standard_normal((m, 16)), random.standard_normal((5, 16))
    expected = []
    for y_p in p:
        s = y @ y_p
        w = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        expected.append(1.3 * ((w @ y) @ y_p / 4.0 - 1.0))
    q = torch.tensor(y.reshape(1, -1), dtype=torch.float32)
    got = student.head(q, torch.tensor(p, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3 * size)


def test_polys_query_row_names_its_codes() -> None:
    student = Poly(PolyConfig(encoder=encoder_config(1), codes=3))
    assert student.query_segments == {"code1": (0, 16), "code2": (16, 16), "code3": (32, 16)}
    assert student.product_segments == {"sentence": (0, 16)}
    row = student.eval().query(*random_texts(5))
    (h,) = _states(student, random_texts(5))
    second = (h @ student.codes[1]).softmax(dim=0) @ h
    torch.testing.assert_close(row[0, 16:32], second)


def test_scale_is_a_times_similarity_plus_b() -> None:
    scale = Scale(a=4.0, c=0.25)
    cosines = torch.tensor([-1.0, 0.0, 0.25, 1.0])
    torch.testing.assert_close(scale(cosines), 4.0 * cosines - 1.0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 768), st.floats(0.0, 20.0))
def test_a_float16_row_keeps_its_cosine(seed: int, width: int, spread: float) -> None:
    """Whatever the direction: 2^-11 of each value, or 2^-25 where float16 has no exponent left."""
    random = np.random.default_rng(seed)
    # Values over many orders of magnitude, as far as `spread` goes.
    v = random.standard_normal((2, width)) * np.exp(random.uniform(-spread, 0, (2, width)))
    q, p = unit(torch.tensor(v, dtype=torch.float32)).numpy().astype(np.float64)
    rounded = p.astype(np.float16).astype(np.float64)
    assert abs(q @ rounded - q @ p) <= 2.0**-11 + 2.0**-25 * math.sqrt(width)
    assert np.linalg.norm(rounded) == pytest.approx(1.0, abs=2.0**-11 + 2.0**-20)
