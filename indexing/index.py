"""File -> vector set: read, encode, store, verify, seal, make live. The module to read first.

A build that stops at any moment, even by `kill -9`, is continued by calling `index` again. Killed
between sealing and making live, the set is whole but not served: `sets.activate` does that.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from indexing.build import Build, Sifted
from indexing.catalogue import Catalogue, Entry, Row
from indexing.encode import ChunkEncoder, LocalChunks
from indexing.errors import BuildRefused, CatalogueChanged, CatalogueDamaged, VerifyFailed
from indexing.progress import CatalogueIdentity, OnProgress, identify
from indexing.raw import BadLine
from indexing.rejects import RejectFile, check_reject_path, first_rejects
from indexing.start import Start, start_build
from indexing.student import ProductEncoder, RowEncoder, product_rows
from indexing.verify import Sample, check_rows, check_sample
from vector_store.header import Holds, SetHeader
from vector_store.protocol import VectorStore

T = TypeVar("T")

FIRST_REJECTS = 5


@dataclass(frozen=True)
class IndexOptions:
    """What a build may be told.

    reject_file: where records that give no row are written; an earlier reject file is replaced
    only_changed: copy rows from the live set where the text is the same
    activate: make the set live once it is sealed
    restart: drop an unfinished set instead of continuing it
    chunk_rows: catalogue rows per commit
    batch_titles: titles per run of the product graph; queries are encoded one by one
    verify_sample: entries that are encoded again before sealing
    """

    reject_file: Path
    only_changed: bool = False
    activate: bool = True
    restart: bool = False
    chunk_rows: int = 4_096
    batch_titles: int = 256
    verify_sample: int = 256

    def __post_init__(self) -> None:
        """Refuses sizes below 1.

        Raises:
            BuildRefused: one of the sizes is below 1.
        """
        for name in ("chunk_rows", "batch_titles", "verify_sample"):
            if getattr(self, name) < 1:
                raise BuildRefused(f"expected {name} of 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Report:
    """What a build did; rows_read = encoded + copied + rejected + duplicates, over all its runs."""

    set_id: str
    holds: Holds
    how: Literal["new", "resumed", "restarted"]
    why: str
    rows_read: int
    encoded: int
    copied: int
    rejected: int
    duplicates: int
    first_rejects: list[BadLine]
    reject_file: Path
    verified: int
    live: bool
    previous_live: str | None
    seconds: float

    @property
    def inserted(self) -> int:
        """Rows in the set."""
        return self.encoded + self.copied


def index(
    catalogue: Catalogue,
    encoder: ProductEncoder,
    store: VectorStore,
    options: IndexOptions,
    on_progress: OnProgress,
    total_rows: int | None = None,
) -> Report:
    """Builds the next generation of the student's vector set beside the live one.

    Args:
        catalogue: what to index.
        encoder: the student whose product rows are stored.
        store: opened for writing.
        options: see there.
        on_progress: told of every chunk.
        total_rows: rows of the catalogue where they have been counted, for `on_progress`.

    Raises:
        CatalogueError: the file can't be read to its end; whole rows before that are kept.
        BuildConflict: another indexer is at work on this set.
        BuildRefused: the reject file can't be used, or no row of the catalogue gave a product.
        VerifyFailed: what was read back is not what was written.
        StoreError: the store failed; call again to continue.
    """
    return index_rows(catalogue, product_rows(encoder), store, options, on_progress, total_rows)


def index_rows(
    catalogue: Catalogue,
    encoder: RowEncoder,
    store: VectorStore,
    options: IndexOptions,
    on_progress: OnProgress,
    total_rows: int | None = None,
    chunks: ChunkEncoder | None = None,
) -> Report:
    """As `index`, for rows of any kind: those of products or, from a query file, of queries.

    chunks: where they are encoded, if not here

    Raises:
        BuildRefused: also where the file holds something else than the rows are of.
    """
    if encoder.holds != catalogue.holds:
        raise BuildRefused(
            f"{catalogue.path.name}: expected a file of {encoder.holds}, got one of "
            f"{catalogue.holds}: open it as what it holds"
        )
    started = time.monotonic()
    identity = identify(catalogue)
    check_reject_path(options.reject_file)
    start = start_build(store, encoder, identity, restart=options.restart)
    previous = store.live(start.header.fingerprint)
    copy_from = store.header(previous) if options.only_changed and previous else None
    with closing(RejectFile(options.reject_file, start.progress.reject_bytes)) as rejects:
        build = Build(store, start.header, start.progress, rejects, copy_from)
        sample = Sample(options.verify_sample, start.header.set_id)
        chunks = chunks or LocalChunks(encoder, options.batch_titles)
        _read_all(catalogue, build, chunks, sample, options.chunk_rows, on_progress, total_rows)
    _check_unchanged(catalogue, identity)
    _verify(store, build, encoder, sample, options.batch_titles, on_progress)
    header = build.seal()
    if options.activate:
        store.set_live(header.fingerprint, header.set_id)
    return _report(start, build, sample, options, previous, time.monotonic() - started)


def _read_all(
    catalogue: Catalogue,
    build: Build,
    encoder: ChunkEncoder,
    sample: Sample,
    chunk_rows: int,
    on_progress: OnProgress,
    total_rows: int | None,
) -> None:
    with closing(catalogue.rows()) as rows:
        done = build.progress.rows_read
        for count, row in enumerate(islice(rows, done), start=1):
            _offer(sample, [row])
            if count % chunk_rows == 0 or count == done:
                on_progress("skip", count, done)
        for chunks in _groups(_groups(rows, chunk_rows), encoder.ahead):
            sifted: list[Sifted] = []
            pending: set[str] = set()
            for chunk in chunks:
                sifted.append(build.sift(chunk, pending))
                pending |= sifted[-1].ids
            encoded = encoder.encode([each.texts for each in sifted])
            for chunk, each, texts_rows in zip(chunks, sifted, encoded, strict=True):
                build.commit(each, texts_rows)
                _offer(sample, chunk)
                on_progress("encode", build.progress.rows_read, total_rows)


def _groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Groups of `size`; where the file breaks off, what was read before still comes."""
    group: list[T] = []
    damage: CatalogueDamaged | None = None
    try:
        for item in items:
            group.append(item)
            if len(group) == size:
                yield group
                group = []
    except CatalogueDamaged as error:
        damage = error
    if group:
        yield group
    if damage is not None:
        raise damage


def _offer(sample: Sample, rows: list[Row]) -> None:
    for row in rows:
        if isinstance(row, Entry):
            sample.offer(row)


def _check_unchanged(catalogue: Catalogue, identity: CatalogueIdentity) -> None:
    if identify(catalogue) != identity:
        raise CatalogueChanged(
            f"{catalogue.path.name}: was written to while it was read: index it again once it is "
            "complete"
        )


def _verify(
    store: VectorStore,
    build: Build,
    encoder: RowEncoder,
    sample: Sample,
    batch_titles: int,
    on_progress: OnProgress,
) -> None:
    expected = build.progress.inserted
    if expected == 0:
        raise BuildRefused(
            f"the file gave no {build.header.holds} ({build.progress.rejected} rows rejected): the "
            "live set stays as it is; see the reject file"
        )
    counted: SetHeader = build.header.model_copy(update={"count": expected})
    check = check_rows(store, counted, on_progress)
    if check.rows != expected or check.corrupt:
        raise VerifyFailed(
            f"set {counted.set_id}: expected {expected} whole rows, read back {check.rows}, of "
            f"which {check.corrupt} corrupt ({', '.join(check.first_corrupt) or 'none'}). The set "
            "stays unsealed and the live one as it is: start the build over"
        )
    check_sample(store, counted, encoder, sample.texts(), batch_titles)


def _report(
    start: Start,
    build: Build,
    sample: Sample,
    options: IndexOptions,
    previous: str | None,
    seconds: float,
) -> Report:
    progress = build.progress
    return Report(
        set_id=build.header.set_id,
        holds=build.header.holds,
        how=start.how,
        why=start.why,
        rows_read=progress.rows_read,
        encoded=progress.encoded,
        copied=progress.copied,
        rejected=progress.rejected,
        duplicates=progress.duplicates,
        first_rejects=first_rejects(options.reject_file, FIRST_REJECTS),
        reject_file=options.reject_file,
        verified=len(sample.texts()),
        live=options.activate,
        previous_live=previous,
        seconds=seconds,
    )
