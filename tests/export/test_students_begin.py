"""Where the students over bags of words begin."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from distill.start import start_student
from distill.vocabularies import idf
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.students.bag import TABLE_STD, Bag
from export.students.bert2dnn import FIRST_GAIN, Bert2DnnConfig, Bert2DnnFc
from export.students.deepdot import DeepDot, DeepDotConfig
from export.students.encoder import read_word_embeddings
from export.students.looks_linear import begin_linear, random_map
from model_store.wordpiece import WordPieceTokenizer


def _texts(words: list[list[int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor(words), torch.ones(len(words), len(words[0]), dtype=torch.long)


QUERY = _texts([[5, 6, 7, 8]])
PRODUCTS = _texts([[15, 16, 17, 18], [5, 16, 17, 18], [5, 6, 17, 18], [5, 6, 7, 18], [5, 6, 7, 8]])


@pytest.mark.parametrize("kind", ["bert2dnn", "deepdot"])
def test_the_more_words_two_texts_share_the_higher_they_score_at_first(kind: str) -> None:
    """Surely for texts with all words in common or none, on average over seeds for all between."""
    runs = []
    for seed in range(20):
        torch.manual_seed(seed)
        student = (
            Bert2DnnFc(Bert2DnnConfig(vocabulary=20))
            if kind == "bert2dnn"
            else DeepDot(DeepDotConfig(vocabulary=20))
        )
        with torch.no_grad():
            runs.append(student.eval()(*QUERY, *PRODUCTS))
    logits = torch.stack(runs)
    assert (logits[:, -1] > logits[:, 0]).all()
    assert (logits.mean(dim=0).diff() > 0).all()
    assert 0.05 < logits.std(dim=1).mean() < 1.0


def test_bert2dnn_begins_as_the_formula_says() -> None:
    torch.manual_seed(3)
    student = Bert2DnnFc(Bert2DnnConfig(vocabulary=20)).eval()
    k = 256  # a quarter of the first layer
    r_kE = student.W1_p.weight[:k]
    e_q, e_p = student.bag(*QUERY), student.bag(*PRODUCTS)
    sums = ((e_q + e_p) @ r_kE.T).abs() - ((e_q - e_p) @ r_kE.T).abs()
    expected = FIRST_GAIN / k**0.5 * sums.sum(dim=1)
    torch.testing.assert_close(student(*QUERY, *PRODUCTS), expected, atol=1e-5, rtol=1e-5)


def test_odd_widths_begin_too() -> None:
    for hidden in ((33, 7, 5, 3), (1, 1, 1, 1)):
        bert2dnn = Bert2DnnFc(Bert2DnnConfig(vocabulary=20, width=6, hidden=hidden))
        deepdot = DeepDot(DeepDotConfig(vocabulary=20, width=6, hidden=hidden, output=3))
        for student in (bert2dnn, deepdot):
            assert torch.isfinite(student.eval()(*QUERY, *PRODUCTS)).all()


def test_a_mirrored_layer_is_linear_behind_its_relu() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 9), nn.Linear(9, 3)
    with torch.no_grad():
        second.weight[:, 8:] = 0.0  # what reads the unit that is left over
    A, B = random_map(4, 6), random_map(3, 4)
    begin_linear(first, A, given=(1,))
    begin_linear(second, B, mirrored=False)
    x = torch.randn(20, 6)
    torch.testing.assert_close(second(torch.relu(first(x))), x @ A.T @ B.T)


def test_a_table_begins_with_whitened_meanings() -> None:
    torch.manual_seed(0)
    meanings = torch.randn(300, 12) * torch.linspace(0.1, 9.0, 12) + 5.0
    bag = Bag(vocabulary=250, width=4)
    bag.begin_with(meanings, torch.ones(250))
    table = bag.E.weight.detach()
    whole = Bag(vocabulary=300, width=4)
    whole.begin_with(meanings, torch.ones(300))
    assert torch.equal(table, whole.E.weight[:250])
    covariance = whole.E.weight.T @ whole.E.weight / 300
    torch.testing.assert_close(covariance, torch.eye(4) * TABLE_STD**2, atol=1e-6, rtol=1e-4)
    # The widest four columns, 11 to 8, are what remains of a meaning.
    kept = torch.linalg.lstsq(whole.E.weight, meanings - meanings.mean(dim=0)).solution
    explained = 1 - ((meanings - meanings.mean(dim=0) - whole.E.weight @ kept) ** 2).sum(0) / (
        (meanings - meanings.mean(dim=0)) ** 2
    ).sum(0)
    assert (explained[-3:] > 0.9).all()
    assert (explained[:7] < 0.1).all()


def test_a_narrow_encoder_leaves_the_other_columns_random() -> None:
    torch.manual_seed(0)
    bag = Bag(vocabulary=50, width=6)
    before = bag.E.weight.detach().clone()
    bag.begin_with(torch.randn(50, 2), torch.ones(50))
    assert torch.equal(bag.E.weight[:, 2:], before[:, 2:])
    assert not torch.equal(bag.E.weight[:, :2], before[:, :2])


def test_a_meaning_is_as_long_as_its_token_is_rare() -> None:
    torch.manual_seed(0)
    meanings, weights = torch.randn(50, 6), torch.linspace(0.1, 2.0, 50)
    bag, plain = Bag(vocabulary=50, width=6), Bag(vocabulary=50, width=6)
    bag.begin_with(meanings, weights)
    plain.begin_with(meanings, torch.ones(50))
    torch.testing.assert_close(bag.E.weight, weights.unsqueeze(1) * plain.E.weight)


def test_idf_counts_a_title_once_and_is_one_in_the_mean(encoder_folder: Path) -> None:
    tokenizer = WordPieceTokenizer(encoder_folder / "tokenizer.json", 16, 16)
    lamp, red, blue = (
        tokenizer.encode([word], "product")[0][0, 1] for word in ("lamp", "red", "blue")
    )
    cls, sep = tokenizer.encode([""], "product")[0][0, :2]
    titles = ["lamp red lamp", "blue lamp", "blue lamp"]
    found = idf(tokenizer, titles, [int(cls), int(sep)])
    assert found.shape == (tokenizer.size,)
    once, both = math.log(3 / 2) + 1, 1.0
    mean = (2 * once + 2 * both) / 4
    assert found[[lamp, red, blue, cls]] == pytest.approx(
        [both / mean, once / mean, once / mean, both / mean]
    )
    assert found.max() == pytest.approx((math.log(3) + 1) / mean)
    assert np.isfinite(idf(tokenizer, ["", "!"], [int(cls), int(sep)])).all()


def test_word_pieces_begin_with_their_encoders_meanings(
    encoder_folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    def table(**wanted: bool) -> Tensor:
        torch.manual_seed(0)
        options = TrainOptions(tokenizer="wordpiece", encoder=encoder_folder, **wanted)  # type: ignore[arg-type]
        start = start_student("deepdot", pairs, options, tmp_path)
        assert ("encoder_sha256" in start.facts) == (not wanted)
        assert isinstance(start.student, DeepDot)
        weights = idf(start.tokenizer, pairs.titles, start.student.bag.not_counted)
        expected.begin_with(read_word_embeddings(encoder_folder), torch.from_numpy(weights))
        return start.student.bag.E.weight.detach()

    expected = Bag(len(read_word_embeddings(encoder_folder)), 64)
    width = read_word_embeddings(encoder_folder).shape[1]
    assert torch.equal(table()[:, :width], expected.E.weight[:, :width])
    assert not torch.equal(table(from_scratch=True), table())


def test_what_a_table_cannot_begin_with_is_refused(
    encoder_folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    name = "model.safetensors"
    tensors = load_file(encoder_folder / name)
    (tmp_path / "tokenizer.json").write_bytes((encoder_folder / "tokenizer.json").read_bytes())
    options = TrainOptions(tokenizer="wordpiece", encoder=tmp_path)

    def refused(expected: str) -> None:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        with pytest.raises(EncoderRefused, match=expected):
            start_student("bert2dnn", pairs, options, out)

    refused("expected model.safetensors, found none")
    word = next(each for each in tensors if each.endswith("word_embeddings.weight"))
    save_file({each: tensors[each] for each in tensors if each != word}, tmp_path / name)
    refused(r"expected embeddings.word_embeddings.weight, .*, got none")
    save_file({word: torch.full_like(tensors[word], torch.nan)}, tmp_path / name)
    refused(r"expected embeddings.word_embeddings.weight, finite, .*, got .* NaN")
    save_file({word: tensors[word][:5].clone()}, tmp_path / name)
    refused("tokens, but the encoder's table has 5")
    with pytest.raises(TrainingRefused, match="from_scratch: a table of tokenizer cwub begins"):
        start_student("bert2dnn", pairs, TrainOptions(from_scratch=True), tmp_path / "out")
