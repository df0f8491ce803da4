"""A lexical teacher: boosted trees over what query and title share. Folder in, log odds out.

model-0.txt, model-1.txt ...   trees, in LightGBM's text format
vocabulary.json, vectors.npz   the terms of the catalogue (lexical_vectors.py)
meaning.npz, encoder.onnx, encoder_tokenizer.json
                               where it has an encoder (lexical_catalogue.py, token_vectors.py)
catalogue.json, judged.npz     where it looks them up (lexical_retrieval.py, lexical_judged.py)
teacher.json                   features by column, sha256 of the files above, facts of the training;
                               written last

Labelling needs no torch. Nothing here is a pickle.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np
from numpy.typing import NDArray

from distill.errors import TeacherRefused
from distill.lexical_catalogue import MEANING_FILE, read_catalogue, write_catalogue
from distill.lexical_features import LexicalFeatures, LookUp, features_of
from distill.lexical_judged import JUDGED_FILE, read_judged, write_judged
from distill.lexical_meaning import Meaning
from distill.lexical_retrieval import CATALOGUE_FILE, Retrieval, read_titles, write_titles
from distill.lexical_vectors import VECTORS_FILE, VOCABULARY_FILE, read_spaces, write_spaces
from distill.teacher_file import (
    TEACHER_FILE,
    Facts,
    LexicalTeacherFile,
    read_teacher_file,
    write_teacher_file,
)
from distill.token_vectors import ENCODER_FILES, TokenEncoder
from model_store.digest import file_sha256

_FILES = (VOCABULARY_FILE, VECTORS_FILE)
_FILES_OF_ENCODER = (MEANING_FILE, *ENCODER_FILES)
_FILES_LOOKED_UP = (CATALOGUE_FILE, JUDGED_FILE)


class LexicalTeacher:
    """Scores pairs by the mean of its models; a `PairScorer` (teacher.py)."""

    def __init__(
        self,
        features: LexicalFeatures,
        models: Sequence[lightgbm.Booster],
        description: LexicalTeacherFile,
        threads: int | None,
    ) -> None:
        """`LexicalTeacher.load` makes one of a folder."""
        self._features = features
        self._models = models
        self._threads = threads or 0  # 0: every CPU
        self.description = description
        self.sha256 = _sha256(description)

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> "LexicalTeacher":
        """Opens what `save_lexical_teacher` wrote; it runs on `threads` threads, else on every CPU.

        Raises:
            TeacherRefused: a file is missing or damaged, or its features are not today's.
        """
        description = read_teacher_file(folder / TEACHER_FILE, LexicalTeacherFile)
        _check_features(description, folder)
        _check_files(description, folder)
        meaning = _read_meaning(folder, threads) if _has_encoder(description) else None
        spaces = read_spaces(folder)
        look_up = None
        if _looks_up(description):
            retrieval = Retrieval(read_titles(folder), spaces["words"])
            look_up = LookUp(retrieval, read_judged(folder))
        features = LexicalFeatures(spaces, meaning, look_up)
        models = [_read_model(folder / name, len(features.names)) for name in description.models]
        return cls(features, models, description, threads)

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Log odds of relevance of n aligned pairs, float32 [n]; none depends on the others."""
        matrix = self._features.matrix(queries, titles)
        return mean_logits(self._models, matrix, self._threads)


def mean_logits(
    models: Sequence[lightgbm.Booster], matrix: NDArray[np.float32], threads: int
) -> NDArray[np.float32]:
    """Mean raw score of the models, float32 [n]; `matrix` as `LexicalFeatures.matrix` gives it."""
    if not len(matrix):
        return np.empty(0, dtype=np.float32)
    raw = [model.predict(matrix, raw_score=True, num_threads=threads) for model in models]
    return np.asarray(np.mean(raw, axis=0, dtype=np.float64), dtype=np.float32)


def save_lexical_teacher(
    features: LexicalFeatures, models: Sequence[str], training: Facts, out: Path
) -> LexicalTeacherFile:
    """Writes a teacher's folder, which is there whole or not at all.

    Args:
        features: whose matrix the models were trained on.
        models: trees, in LightGBM's text format.
        training: what teacher.json should say of it.
        out: must not exist. `<out>.unfinished` lies beside it meanwhile.
    """
    folder = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)  # of a stop in the middle of writing
    folder.mkdir(parents=True)
    write_spaces(features.spaces, folder)
    names = tuple(f"model-{number}.txt" for number in range(len(models)))
    for name, trees in zip(names, models, strict=True):
        (folder / name).write_text(trees, encoding="utf-8", newline="\n")
    if features.meaning is not None:
        write_catalogue(features.meaning.catalogue, folder)
        for name, content in features.meaning.encoder.files.items():
            (folder / name).write_bytes(content)
    if features.look_up is not None:
        write_titles(features.look_up.retrieval.titles, folder)
        write_judged(features.look_up.judged, folder)
    beside = _files_beside(
        has_encoder=features.meaning is not None, looks_up=features.look_up is not None
    )
    decide = (*names, *_FILES, *beside)
    description = LexicalTeacherFile(
        features=features.names,
        models=names,
        files={name: file_sha256(folder / name) for name in sorted(decide)},
        training=training,
    )
    write_teacher_file(description, folder)
    folder.rename(out)
    return description


def _sha256(description: LexicalTeacherFile) -> str:
    """sha256 of everything that decides a logit: the files, and what they are read as."""
    decides = description.model_dump_json(exclude={"training"})
    return hashlib.sha256(decides.encode()).hexdigest()


def _has_encoder(description: LexicalTeacherFile) -> bool:
    return MEANING_FILE in description.files


def _looks_up(description: LexicalTeacherFile) -> bool:
    return CATALOGUE_FILE in description.files


def _files_beside(*, has_encoder: bool, looks_up: bool) -> tuple[str, ...]:
    return (*(_FILES_OF_ENCODER if has_encoder else ()), *(_FILES_LOOKED_UP if looks_up else ()))


def _read_meaning(folder: Path, threads: int | None) -> Meaning:
    content = {name: (folder / name).read_bytes() for name in ENCODER_FILES}
    try:
        encoder = TokenEncoder(content, threads)
    except TeacherRefused as error:
        raise TeacherRefused(f"{folder}: {error}") from error
    return Meaning(encoder, read_catalogue(folder))


def _check_features(description: LexicalTeacherFile, folder: Path) -> None:
    known = features_of(has_encoder=_has_encoder(description), looks_up=_looks_up(description))
    if description.features == known:
        return
    theirs, ours = set(description.features), set(known)
    raise TeacherRefused(
        f"{folder}: trained on other features than this version has (it has {len(theirs - ours)} "
        f"unknown ones {sorted(theirs - ours)[:3]}, lacks {len(ours - theirs)} "
        f"{sorted(ours - theirs)[:3]}): train it again"
    )


def _check_files(description: LexicalTeacherFile, folder: Path) -> None:
    """Before anything is parsed: of half a file of trees LightGBM may make half a model."""
    beside = _files_beside(has_encoder=_has_encoder(description), looks_up=_looks_up(description))
    needed = {*description.models, *_FILES, *beside}
    if needed != set(description.files):
        raise TeacherRefused(
            f"{folder / TEACHER_FILE}: files: expected {', '.join(sorted(needed))}, got "
            f"{', '.join(sorted(description.files)) or 'none'}"
        )
    for name, expected in description.files.items():
        try:
            got = file_sha256(folder / name)
        except OSError as error:
            raise TeacherRefused(f"{folder / name}: can't be read: {error.strerror}") from error
        if got != expected:
            raise TeacherRefused(
                f"{folder / name}: damaged: expected sha256 {expected[:12]}, got {got[:12]}: copy "
                "the folder again, or train the teacher again"
            )


def _read_model(path: Path, features: int) -> lightgbm.Booster:
    try:
        model = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    except (OSError, ValueError, lightgbm.basic.LightGBMError) as error:
        raise TeacherRefused(f"{path}: not trees of LightGBM: {error}") from error
    if model.num_feature() != features:
        raise TeacherRefused(
            f"{path}: expected trees over {features} features, got {model.num_feature()}"
        )
    return model
