"""A teacher's folder: what it scores, who else can read it, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from distill.cross_encoder import CrossEncoder
from distill.errors import TeacherRefused
from distill.pair_tokens import PairTokenizer
from distill.pretrained import load_encoder, load_tokenizer
from distill.stack import stacked_probability
from distill.teacher import load_teacher, save_teacher
from distill.teacher_file import HeadConfig, Scale, TeacherFile
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.students.encoder import build_encoder, load_encoder_weights, read_encoder_config
from tests.distill.families import FAMILIES, write_encoder

QUERIES = ["red usb cable", "lamp", "red usb cable", "steel table"]
TITLES = ["usb cable red 2.5 mm", "garden hose", "lamp", "table steel wooden chair cover phone"]


def _write_teacher(
    encoder: Path, folder: Path, *, scale: Scale | None = None, head: HeadConfig | None = None
) -> Path:
    """A teacher with a random head."""
    torch.manual_seed(2)
    network = load_encoder(encoder)
    head = head or HeadConfig()
    model = CrossEncoder(network, network.config, head)
    with torch.no_grad():
        for name, parameter in model.head.named_parameters():
            if name.endswith("weight"):
                parameter.mul_(20)  # so that pairs differ
    description = TeacherFile(pair_tokens=32, head=head, scale=scale or Scale(), training={})
    folder.mkdir()
    tokenizer = PairTokenizer(load_tokenizer(encoder), model.config.pad_token_id)
    save_teacher(model, tokenizer, description, folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pairs: Pairs
) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / request.param
    return write_encoder(request.param, folder, [*pairs.queries, *pairs.titles])


def _by_transformers(folder: Path, *, mean: bool) -> NDArray[np.float64]:
    """The same logits from transformers' own model, one pair at a time, and numpy."""
    encoder = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = load_tokenizer(folder)
    stored = load_file(folder / "model.safetensors")
    head = {name: stored[name].double().numpy() for name in stored if name.startswith("head.")}
    logits = []
    for query, title in zip(QUERIES, TITLES, strict=True):
        encoded = tokenizer.encode(query, title)
        inputs = {"input_ids": torch.tensor([encoded.ids])}
        if encoder.config.model_type in ("bert", "electra"):
            inputs["token_type_ids"] = torch.tensor([encoded.type_ids])
        with torch.no_grad():
            states = encoder(**inputs).last_hidden_state[0].double().numpy()
        h = states.mean(axis=0) if mean else states[0]
        h = np.tanh(head["head.1.weight"] @ h + head["head.1.bias"])
        logits.append((head["head.4.weight"] @ h + head["head.4.bias"])[0])
    return np.array(logits)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_logits_are_those_of_transformers(encoder: Path, tmp_path: Path, pooling: str) -> None:
    head = HeadConfig.model_validate({"pooling": pooling})
    folder = _write_teacher(encoder, tmp_path / "teacher", head=head)
    logits = load_teacher(folder, "cpu").logits(QUERIES, TITLES)
    assert logits.dtype == np.float32
    assert np.ptp(logits) > 0.01
    expected = _by_transformers(folder, mean=pooling == "mean")
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_the_scale_is_applied_and_changes_the_hash(encoder_folder: Path, tmp_path: Path) -> None:
    plain = load_teacher(_write_teacher(encoder_folder, tmp_path / "plain"), "cpu")
    scale = Scale(slope=2.5, intercept=-1.0)
    scaled = load_teacher(_write_teacher(encoder_folder, tmp_path / "scaled", scale=scale), "cpu")
    np.testing.assert_allclose(
        scaled.logits(QUERIES, TITLES), 2.5 * plain.logits(QUERIES, TITLES) - 1.0, rtol=1e-6
    )
    assert scaled.sha256 != plain.sha256
    again = load_teacher(_write_teacher(encoder_folder, tmp_path / "again"), "cpu")
    assert again.sha256 == plain.sha256


def test_a_linear_head_is_one_layer(encoder_folder: Path, tmp_path: Path) -> None:
    folder = _write_teacher(encoder_folder, tmp_path / "teacher", head=HeadConfig(layers=1))
    stored = load_file(folder / "model.safetensors")
    assert sorted(name for name in stored if name.startswith("head.")) == [
        "head.1.bias",
        "head.1.weight",
    ]
    assert np.isfinite(load_teacher(folder, "cpu").logits(QUERIES, TITLES)).all()


def test_no_pairs_have_no_logits(encoder_folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(_write_teacher(encoder_folder, tmp_path / "teacher"), "cpu")
    assert teacher.logits([], []).shape == (0,)


def test_loading_leaves_torchs_random_state_alone(encoder_folder: Path, tmp_path: Path) -> None:
    folder = _write_teacher(encoder_folder, tmp_path / "teacher")
    before = torch.random.get_rng_state()
    load_teacher(folder, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_student_and_a_second_teacher_can_start_from_it(
    encoder_folder: Path, tmp_path: Path
) -> None:
    folder = _write_teacher(encoder_folder, tmp_path / "teacher")
    original = load_file(encoder_folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    student = build_encoder(read_encoder_config(folder, layers=2))
    load_encoder_weights(student, folder)
    assert torch.equal(student.state_dict()[name], original[f"bert.{name}"])
    second = load_encoder(folder)
    assert torch.equal(second.state_dict()[name], original[f"bert.{name}"])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("no teacher.json", r"teacher.json: can't be read .* `winnow teach`"),
        ("foreign teacher.json", r"not the teacher.json of a cross-encoder: (.|\n)*more"),
        ("truncated weights", "not a whole safetensors file"),
        ("missing tensor", "lacks 1 tensors, first head.4.bias"),
        ("extra tensor", "has 1 too many, first more"),
        ("other shape", r"head.4.bias: expected shape \[1\], got \[2\]"),
        ("not finite", "head.4.bias: holds NaN or infinity"),
        ("no config", r"config.json: expected the config.json of an encoder"),
        ("no tokenizer", "expected tokenizer.json"),
    ],
)
def test_a_damaged_folder_is_refused(
    damage: str, expected: str, encoder_folder: Path, tmp_path: Path
) -> None:
    folder = _write_teacher(encoder_folder, tmp_path / "teacher")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    if damage == "no teacher.json":
        (folder / "teacher.json").unlink()
    elif damage == "foreign teacher.json":
        document = json.loads((folder / "teacher.json").read_text()) | {"more": 1}
        (folder / "teacher.json").write_text(json.dumps(document))
    elif damage == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no config":
        (folder / "config.json").write_text('{"model_type": "unheard of"}')
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    else:
        if damage == "missing tensor":
            del tensors["head.4.bias"]
        elif damage == "extra tensor":
            tensors["more"] = torch.zeros(1)
        elif damage == "other shape":
            tensors["head.4.bias"] = torch.zeros(2)
        else:
            tensors["head.4.bias"] = torch.tensor([torch.nan])
        save_file(tensors, weights)
    with pytest.raises(TeacherRefused, match=expected):
        load_teacher(folder, "cpu")


def test_an_unknown_device_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    folder = _write_teacher(encoder_folder, tmp_path / "teacher")
    with pytest.raises(TeacherRefused, match="device 'abacus': expected one that torch"):
        load_teacher(folder, "abacus")


def test_a_decoder_is_no_encoder(tmp_path: Path) -> None:
    transformers.T5Config(d_model=32, num_layers=1).save_pretrained(tmp_path)
    with pytest.raises(EncoderRefused, match="got t5, which has a decoder"):
        load_encoder(tmp_path)


def test_weights_that_are_not_the_encoders_are_refused(
    encoder_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    tensors = load_file(folder / "model.safetensors")
    save_file(dict(list(tensors.items())[5:]), folder / "model.safetensors")
    with pytest.raises(EncoderRefused, match="lack 5 of the encoder's tensors"):
        load_encoder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(EncoderRefused, match=r"pytorch_model\.bin is never read"):
        load_encoder(folder)


def test_stacking_is_the_mean_of_probabilities() -> None:
    logits = [np.array([0.0, 100.0, -100.0, np.log(3)]), np.array([0.0, 0.0, -100.0, -np.log(3)])]
    stacked = stacked_probability([each.astype(np.float32) for each in logits])
    np.testing.assert_allclose(stacked, [0.5, 0.75, 0.0, 0.5], atol=1e-7)
    assert stacked.dtype == np.float32
