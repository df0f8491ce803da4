"""Students that read like their papers; the names under which student.json knows them."""

from collections.abc import Mapping

from pydantic import ValidationError

from export.errors import CheckpointRefused
from export.students.bert2dnn import Bert2DnnConfig, Bert2DnnFc
from export.students.deepdot import DeepDot, DeepDotConfig
from export.students.listbert import ListBert, ListBertConfig
from export.students.poly import Poly, PolyConfig
from export.students.reprbert import ReprBert, ReprBertConfig
from export.students.siamese import Siamese, SiameseConfig
from export.students.student import Student

KINDS = (
    Bert2DnnFc.kind,
    DeepDot.kind,
    ReprBert.kind,
    Siamese.kind,
    Poly.kind,
    ListBert.kind,
)


def build_student(kind: str, config: Mapping[str, object]) -> Student:
    """A student with random weights, of the sizes in `config`.

    Raises:
        CheckpointRefused: no such kind, or sizes that are not that kind's.
    """
    try:
        match kind:
            case Bert2DnnFc.kind:
                return Bert2DnnFc(Bert2DnnConfig.model_validate(config))
            case DeepDot.kind:
                return DeepDot(DeepDotConfig.model_validate(config))
            case ReprBert.kind:
                return ReprBert(ReprBertConfig.model_validate(config))
            case Siamese.kind:
                return Siamese(SiameseConfig.model_validate(config))
            case Poly.kind:
                return Poly(PolyConfig.model_validate(config))
            case ListBert.kind:
                return ListBert(ListBertConfig.model_validate(config))
    except ValidationError as error:
        raise CheckpointRefused(f"not a configuration of student {kind}: {error}") from error
    raise CheckpointRefused(f"unknown student {kind!r}: expected one of {', '.join(KINDS)}")
