"""manifest.json, the typed description of one bundle; reads and checks text, opens no other file.

Schema evolution: `format_version` grows when a reader of the old format would misread a new file.
Unknown fields are refused, so an older Winnow never serves a bundle it only half understands.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from model_store.errors import BundleRefused

# native: the fused head of model_store/head.c, in int8 with scales of its own.
Precision = Literal["float32", "int8", "native"]
GraphName = Literal["query", "product", "head"]
SortMode = Literal["default", "price", "sale"]

# Rows per run of the head: fixed, so that ONNX Runtime's arena never grows with the biggest
# request, and small enough that a tile's activations stay in the second-level cache. The deadline
# is looked at between tiles.
TILE = 512

# A bundle is one flat folder: a plain file name can't escape it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
BundleName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
UnitInterval = Annotated[float, Field(ge=0.0, le=1.0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Graph(_Frozen):
    """One of the three graphs: a file per precision, and the precision that is run."""

    files: dict[Precision, FileName]
    run: Precision


class TokenizerSpec(_Frozen):
    """What turns text into token ids; the limits count tokens after tokenisation."""

    kind: Literal["cwub", "wordpiece"]
    files: list[FileName]
    query_tokens: Annotated[int, Field(ge=1, le=4096)]
    product_tokens: Annotated[int, Field(ge=1, le=4096)]


class RowLayout(_Frozen):
    """Width of a row in floats, and its named segments as (offset, width) in floats."""

    width: Annotated[int, Field(ge=1, le=65536)]
    segments: dict[str, tuple[int, int]]


class Calibration(_Frozen):
    """Calibrated score = sigmoid(slope * logit(raw score) + intercept); (1, 0) is the identity."""

    slope: Annotated[float, Field(gt=0.0)] = 1.0
    intercept: float = 0.0
    fitted_on: str = "not fitted: the student's own probability"


class Thresholds(_Frozen):
    """Smallest calibrated score that `/filter` keeps, one for each sort mode."""

    default: UnitInterval
    price: UnitInterval
    sale: UnitInterval
    chosen_on: str

    def by_sort(self) -> dict[SortMode, float]:
        """Threshold of each sort mode."""
        return {"default": self.default, "price": self.price, "sale": self.sale}


class Parity(_Frozen):
    """What the export measured between one graph and its reference on real pairs.

    float32 graphs are compared with PyTorch, int8 graphs with the float32 graph.
    `decisions_changed` is the share of judged pairs that a threshold decides differently, in the
    mean over thresholds; bundles exported before it was measured have none.
    """

    graph: GraphName
    precision: Precision
    pairs: int
    max_score_difference: float
    mean_score_difference: float
    spearman: float | None
    auc_reference: float | None
    auc: float | None
    # Left out where there is none: a bundle of before keeps its fingerprint.
    decisions_changed: float | None = Field(default=None, exclude_if=lambda value: value is None)


class OfflineMetrics(_Frozen):
    """`winnow evaluate` figures on one data set, as they were when the bundle was published."""

    dataset: str
    split: str
    dataset_sha256: Sha256
    pairs: int
    queries: int
    negative_share: float
    roc_auc: float
    neg_pr_auc: float
    ndcg_at_10: float | None


class FileEntry(_Frozen):
    """Size and checksum of one file of the bundle."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Draft(_Frozen):
    """A manifest before its files are hashed: what the exporter decides."""

    format_version: Literal[1]
    name: BundleName
    version: Version
    created: str
    student: str
    tokenizer: TokenizerSpec
    query_row: RowLayout
    product_row: RowLayout
    row_dtype: Literal["float16"]
    graphs: dict[GraphName, Graph]
    vector_files: Annotated[list[FileName], Field(min_length=1)]
    score_scale: Literal["probability"]
    calibration: Calibration
    thresholds: Thresholds
    golden_tolerance: dict[Precision, float]
    parity: list[Parity]
    metrics: list[OfflineMetrics]
    training: dict[str, str | int | float | bool | None]


class Manifest(Draft):
    """Everything that decides what a bundle's rows and scores are (system contract, section 3)."""

    files: dict[FileName, FileEntry]
    vector_fingerprint: Sha256
    bundle_fingerprint: Sha256

    @property
    def d_q(self) -> int:
        """Width of a query row, in float32 values."""
        return self.query_row.width

    @property
    def d_p(self) -> int:
        """Width of a product row, in float16 values."""
        return self.product_row.width


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """Reads a manifest; `where` is named in the error.

    Raises:
        BundleRefused: not JSON, a missing, wrong or unknown field, or another format version.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors(include_url=False, include_context=False)[:5]
        )
        raise BundleRefused(
            f"{where}: not a manifest of format_version 1: {problems}. "
            "Export the student again, or use the Winnow version that wrote it."
        ) from error


def manifest_json(manifest: Manifest) -> str:
    """The manifest as it stands on disk: two-space indent, trailing newline."""
    return manifest.model_dump_json(indent=2) + "\n"


def _digest(parts: object) -> str:
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def vector_fingerprint(manifest: Manifest) -> str:
    """sha256 of everything that decides a product row, and of nothing else.

    That is the product graph with its weights, the tokenizer's files and product limit, the row's
    layout and dtype. The head, the query side, thresholds and names are left out, so a head-only
    retrain keeps the fingerprint and needs no re-indexing.
    """
    return _digest(
        {
            "files": {name: manifest.files[name].sha256 for name in manifest.vector_files},
            "precision": manifest.graphs["product"].run,
            "tokenizer": manifest.tokenizer.kind,
            "product_tokens": manifest.tokenizer.product_tokens,
            "width": manifest.product_row.width,
            "segments": manifest.product_row.segments,
            "dtype": manifest.row_dtype,
        }
    )


def query_fingerprint(manifest: Manifest, precision: Precision) -> str:
    """sha256 of everything that decides a query row of the query graph in this precision.

    The two precisions make different rows, so their stored rows are kept apart. The external
    weights of every graph lie in one of the vector files; the product graph is left out.
    """
    product = set(manifest.graphs["product"].files.values())
    names = {
        manifest.graphs["query"].files[precision],
        *manifest.tokenizer.files,
        *(name for name in manifest.vector_files if name not in product),
    }
    return _digest(
        {
            "graph": "query",
            "files": {name: manifest.files[name].sha256 for name in names},
            "precision": precision,
            "tokenizer": manifest.tokenizer.kind,
            "query_tokens": manifest.tokenizer.query_tokens,
            "width": manifest.query_row.width,
            "segments": manifest.query_row.segments,
            "dtype": "float32",
        }
    )


def bundle_fingerprint(manifest: Manifest) -> str:
    """sha256 of the whole manifest but this field: it changes when anything in the bundle does."""
    return _digest(manifest.model_dump(mode="json", exclude={"bundle_fingerprint"}))
