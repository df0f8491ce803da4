"""Training of a lexical teacher: judged pairs and a catalogue's titles in, a teacher's folder out.

Trees boosted on the sigmoid cross-entropy against targets in [0, 1] (LightGBM's `cross_entropy`),
so that what they add up to is a log odds of the expected grade, as a pointwise cross-encoder's
logit is, and needs no scale. Each model keeps the rounds up to its best ROC-AUC on the validation
pairs. It takes seconds, so nothing is kept of a training that was stopped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import rapidfuzz
import sklearn
from numpy.typing import NDArray

from distill.errors import TrainingRefused
from distill.lexical_features import LexicalFeatures, LookUp, evenly
from distill.lexical_judged import JudgedPairs
from distill.lexical_meaning import Meaning
from distill.lexical_options import LexicalOptions
from distill.lexical_retrieval import Retrieval
from distill.lexical_teacher import mean_logits, save_lexical_teacher
from distill.teacher_file import Facts, LexicalTeacherFile
from distill.texts import texts_sha256
from distill.token_vectors import TokenEncoder
from distill.training_pairs import check_classes, pairs_facts
from distill.transfer_options import OnProgress
from evaluation.metrics import ndcg, roc_auc
from export.pairs import Pairs

_CHUNK = 1024  # pairs between two reports of progress
_ROUNDS_PER_REPORT = 20
_ROC_AUC, _LOSS = "roc_auc", "cross_entropy"  # as evaluation results are called
_SAME_ROC_AUC = 1e-4  # a difference that says nothing: thousands of pairs have intervals of 1e-2


@dataclass(frozen=True)
class Model:
    """One model of the teacher, and how good it is on the validation pairs after `rounds` trees."""

    seed: int
    rounds: int
    roc_auc: float


@dataclass(frozen=True)
class TaughtLexical:
    """What came of a training: the folder holds all models; figures are of their mean."""

    folder: Path
    models: list[Model]
    roc_auc: float
    ndcg_at_10: float
    description: LexicalTeacherFile


def teach_lexical(
    pairs: Pairs,
    validation: Pairs,
    catalogue: Iterable[str],
    out: Path,
    options: LexicalOptions,
    on_progress: OnProgress,
    threads: int | None = None,
    encoder: Path | None = None,
) -> TaughtLexical:
    """Trains a lexical teacher and writes it to `out`.

    The same pairs, catalogue, options and versions of the libraries give the same files on the
    same machine with the same number of threads.

    Args:
        pairs: what is learned; targets in [0, 1].
        validation: pairs of other queries, which say when to stop.
        catalogue: titles to count terms in; those of `pairs` are added.
        out: folder to write.
        options: see there.
        on_progress: told of features and rounds.
        threads: of LightGBM and the encoder; None for every CPU.
        encoder: folder of a pretrained one, whose vectors of the texts become features too.

    Raises:
        EncoderRefused: no whole encoder there.
        TrainingRefused: `out` exists, there is nothing to learn or to validate with, or no title
            has a word.
    """
    if out.exists():
        raise TrainingRefused(f"{out}: exists already; training never overwrites: name another")
    check_classes(pairs, "training", options.relevant_from)
    check_classes(validation, "validation", options.relevant_from)
    titles = sorted({*catalogue, *pairs.titles})
    features = _features(titles, encoder, threads, on_progress)
    if options.look_up:
        features = _looking_up(features, titles, pairs, on_progress)
    learned = _matrix(features, pairs, "training features", on_progress), _targets(pairs, options)
    matrix = _matrix(features, validation, "validation features", on_progress)
    checked = matrix, _targets(validation, options)
    labels = validation.targets >= options.relevant_from
    boosters, models = [], []
    for number in range(options.models):
        booster, model = _boosted(
            learned, checked, labels, features.names, options, number, threads, on_progress
        )
        boosters.append(booster)
        models.append(model)
    logits = mean_logits(boosters, matrix, threads or 0)
    auc = roc_auc(labels, logits)
    gain = ndcg(validation.queries, validation.targets.astype(np.float64), logits).value
    facts = _facts(pairs, validation, titles, options, encoder) | {
        "rounds": ", ".join(str(model.rounds) for model in models),
        "validation_roc_auc": auc,
        "validation_ndcg_at_10": gain,
    }
    trees = [booster.model_to_string() for booster in boosters]
    return TaughtLexical(out, models, auc, gain, save_lexical_teacher(features, trees, facts, out))


def _features(
    titles: list[str], encoder: Path | None, threads: int | None, on_progress: OnProgress
) -> LexicalFeatures:
    """Features in the terms of the titles and, where there is one, by the encoder."""
    on_progress("terms of the catalogue", 0, len(titles))
    features = LexicalFeatures.learn(titles)
    on_progress("terms of the catalogue", len(titles), len(titles))
    if encoder is None:
        return features
    # torch comes with it, of which trees on words alone have no need.
    from distill.token_graph import token_encoder_files  # noqa: PLC0415

    network = TokenEncoder(token_encoder_files(encoder), threads)
    return LexicalFeatures(features.spaces, Meaning.learn(network, titles, on_progress))


def _looking_up(
    features: LexicalFeatures, titles: list[str], pairs: Pairs, on_progress: OnProgress
) -> LexicalFeatures:
    """The same features, and those of what is looked up: the titles, and the pairs."""
    retrieval = Retrieval(evenly(titles), features.spaces["words"])
    texts = list(dict.fromkeys([*pairs.queries, *pairs.titles]))
    vectors: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(texts), _CHUNK):
        on_progress("judged pairs to look up", start, len(texts))
        vectors |= features.vectors(texts[start : start + _CHUNK])
    on_progress("judged pairs to look up", len(texts), len(texts))
    judged = JudgedPairs.learn(pairs.queries, pairs.titles, pairs.targets, vectors)
    return LexicalFeatures(features.spaces, features.meaning, LookUp(retrieval, judged))


def _targets(pairs: Pairs, options: LexicalOptions) -> NDArray[np.float32]:
    if options.binary:
        return (pairs.targets >= options.relevant_from).astype(np.float32)
    return pairs.targets


def _matrix(
    features: LexicalFeatures, pairs: Pairs, phase: str, on_progress: OnProgress
) -> NDArray[np.float32]:
    """Features of the pairs, float32 [n, F]."""
    matrix = np.empty((len(pairs), len(features.names)), dtype=np.float32)
    on_progress(phase, 0, len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        rows = slice(start, start + _CHUNK)
        matrix[rows] = features.matrix(pairs.queries[rows], pairs.titles[rows])
        on_progress(phase, min(start + _CHUNK, len(pairs)), len(pairs))
    return matrix


def _boosted(
    learned: tuple[NDArray[np.float32], NDArray[np.float32]],
    checked: tuple[NDArray[np.float32], NDArray[np.float32]],
    labels: NDArray[np.bool_],
    names: Sequence[str],
    options: LexicalOptions,
    number: int,
    threads: int | None,
    on_progress: OnProgress,
) -> tuple[lightgbm.Booster, Model]:
    """Model `number` of the teacher, up to its best round.

    Args:
        learned: features [n, F] and targets [n].
        checked: those of the validation pairs.
        labels: relevant or not, of the validation pairs.
        names: of the features.
        options: see there.
        number: from 0 on.
        threads: None for every CPU.
        on_progress: told of rounds.
    """
    seed = options.seed + number
    told: dict[str, Any] = {
        "objective": "cross_entropy",
        "metric": _LOSS,
        "learning_rate": options.learning_rate,
        "num_leaves": options.leaves,
        "min_data_in_leaf": options.leaf_pairs,
        "lambda_l2": 5.0,
        # Many features say nearly the same: a node that sees some of them finds the others too,
        # and models of different seeds differ, which is what makes their mean better than one.
        "feature_fraction_bynode": 0.3,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,  # else chosen by timing, which rounds otherwise on each run
        "num_threads": threads or 0,
        "verbosity": -1,
    }
    training = lightgbm.Dataset(*learned, feature_name=list(names), params=told)
    watch = _Watch(f"model {number + 1} of {options.models}", options, on_progress)
    booster = lightgbm.train(
        told,
        training,
        options.rounds,
        valid_sets=[training.create_valid(*checked)],
        feval=lambda scores, _: (_ROC_AUC, roc_auc(labels, scores), True),
        callbacks=[watch],
    )
    rounds = watch.best_round
    # Read back, it has the rounds up to the best one and nothing of the training.
    kept = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=rounds))
    return kept, Model(seed, rounds, watch.roc_auc[rounds - 1])


class _Watch:
    """Hears after each round what it is worth on the validation pairs, and ends the training."""

    def __init__(self, phase: str, options: LexicalOptions, on_progress: OnProgress) -> None:
        self.roc_auc: list[float] = []
        self._loss: list[float] = []
        self._phase, self._options, self._on_progress = phase, options, on_progress

    def __call__(self, state: lightgbm.callback.CallbackEnv) -> None:
        figures = {str(each[1]): float(each[2]) for each in state.evaluation_result_list or []}
        self.roc_auc.append(figures[_ROC_AUC])
        self._loss.append(figures[_LOSS])
        done = len(self.roc_auc)
        if done % _ROUNDS_PER_REPORT == 0 or done == self._options.rounds:
            self._on_progress(self._phase, done, self._options.rounds)
        since_best = done - 1 - int(np.argmax(self.roc_auc))
        if since_best >= self._options.patience:
            raise lightgbm.callback.EarlyStopException(done - 1, [])

    @property
    def best_round(self) -> int:
        """Of the rounds with the best ROC-AUC, the one with the least loss, counted from 1.

        Where pairs are easy to tell apart, their order is right long before probabilities are.
        """
        order = np.array(self.roc_auc)
        loss = np.where(order >= order.max() - _SAME_ROC_AUC, self._loss, np.inf)
        return int(np.argmin(loss)) + 1


def _facts(
    pairs: Pairs,
    validation: Pairs,
    titles: list[str],
    options: LexicalOptions,
    encoder: Path | None,
) -> Facts:
    return (
        options.deciding
        | pairs_facts(pairs, validation)
        | {
            "catalogue": len(titles),
            "catalogue_sha256": texts_sha256(titles),
            "lightgbm": lightgbm.__version__,
            "rapidfuzz": rapidfuzz.__version__,
            "scikit-learn": sklearn.__version__,
        }
        | _encoder_facts(encoder)
    )


def _encoder_facts(encoder: Path | None) -> Facts:
    """Nothing of trees on words alone: their teacher.json says what it has always said."""
    if encoder is None:
        return {}
    from distill.pretrained import encoder_sha256  # noqa: PLC0415 (torch comes with it)

    return {"encoder": encoder.name, "encoder_sha256": encoder_sha256(encoder)}
