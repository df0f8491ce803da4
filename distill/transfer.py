"""Pairs for a teacher to label, made from a catalogue and queries. The module to read first.

BERT2DNN learns from logged pairs (`distill.logs`). Without logs, the pairs of a query are: products
that BM25 finds for it, over all ranks; products near those judged for it; and random ones. More
queries come from titles and from small changes of known ones (`distill.pseudo_queries`).

No query of the valid or test split is ever among them, made ones included: `split_of` decides by
the text alone. Queries come in a random order with all of their pairs in one place, so the first
rows of a set are a fair sample of it, and a set labelled half way is a smaller set. Of blocks of
like queries (`distill.blocks`) the first are the tightest.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.blocks import in_turns, near_groups
from distill.errors import TransferRefused
from distill.pseudo_queries import QueryMaker, rewrite
from distill.retrieval import Neighbours, TitleIndex, spread
from distill.transfer_file import Source, TransferPair, check_writable, write_pairs
from distill.transfer_inputs import Products, Queries, loose_key
from distill.transfer_options import OnProgress, TransferOptions
from evaluation.judgments import query_key, split_of
from model_store.cwub import token_hash

_SAMPLE = 500  # queries that an estimate looks at
_TRIES = 4  # pseudo-queries drawn for each one wanted, before making do with fewer
_SOURCES = 3  # judged products that a rewritten query is paired with
_EVERY = 100  # queries between two reports of progress

Kind = Literal["given", "rewritten", "made"]


@dataclass
class Counts:
    """What is in a transfer set; of an estimate, about.

    held_out: made queries left out because they are, or resemble, queries of valid or test
    repeated: made queries left out because they had come before
    """

    pairs: Counter[str] = field(default_factory=Counter)  # by source
    queries: Counter[str] = field(default_factory=Counter)  # by kind
    held_out: int = 0
    repeated: int = 0

    def scaled(self, factor: float) -> "Counts":
        """All counts times a factor, rounded."""
        return Counts(
            Counter({name: round(count * factor) for name, count in self.pairs.items()}),
            Counter({name: round(count * factor) for name, count in self.queries.items()}),
            round(self.held_out * factor),
            round(self.repeated * factor),
        )


@dataclass(frozen=True)
class TransferReport:
    """A transfer set as it was written."""

    path: Path
    sha256: str
    counts: Counts
    seconds: float


def make_transfer_set(
    products: Products,
    queries: Queries,
    options: TransferOptions,
    out: Path,
    on_progress: OnProgress,
) -> TransferReport:
    """Streams the pairs to `out`; memory holds the titles, their index, and a hash per query; of
    blocks, the queries and an index of them too.

    Raises:
        TransferRefused: `out` exists or can't be written, or no query is given and none to be made.
    """
    started = time.monotonic()
    check_writable(out)
    maker = _PairMaker(products, queries, options)
    maker.find_neighbours(on_progress)
    sha256 = write_pairs(out, maker.pairs(on_progress), behaviour=False)
    return TransferReport(out, sha256, maker.counts, time.monotonic() - started)


def estimate_transfer_set(
    products: Products, queries: Queries, options: TransferOptions, on_progress: OnProgress
) -> Counts:
    """What `make_transfer_set` would write, from the first hundreds of its queries.

    Raises:
        TransferRefused: no query is given and none to be made.
    """
    maker = _PairMaker(products, queries, options)
    for _ in maker.pairs(on_progress, _SAMPLE):
        pass
    done = maker.counts.queries["given"] + maker.counts.queries["made"]
    wanted = len(queries.texts) + options.pseudo_queries
    return maker.counts.scaled(wanted / done) if _SAMPLE <= done < wanted else maker.counts


class _Asked(NamedTuple):
    """A query, the text that BM25 is asked for it, and products it is known to belong to."""

    kind: Kind
    query: str
    retrieve: str
    products: list[int]


class _PairMaker:
    def __init__(self, products: Products, queries: Queries, options: TransferOptions) -> None:
        if not queries.texts and not options.pseudo_queries:
            raise TransferRefused(
                "expected queries, judged pairs, or pseudo_queries above 0: there is nothing to "
                "make pairs of"
            )
        self.counts = Counts()
        self._products = products
        self._queries = queries
        self._options = options
        self._index = TitleIndex(products.titles)
        self._neighbours = Neighbours([], len(products))
        self._seen = {token_hash(key) for key in queries.known}
        self._made = QueryMaker(products.titles if options.pseudo_queries else (), queries.texts)

    def find_neighbours(self, on_progress: OnProgress) -> None:
        """Looks up what is near every judged product, so that nearness is known both ways."""
        judged = sorted({each for positions in self._queries.judged.values() for each in positions})
        if not self._options.neighbour_share:
            return

        def nearest() -> Iterator[tuple[int, NDArray[np.int64]]]:
            for done, position in enumerate(judged, start=1):
                yield position, self._nearest(position)
                if done % _EVERY == 0 or done == len(judged):
                    on_progress("neighbours", done, len(judged))

        self._neighbours = Neighbours(nearest(), len(self._products))

    def pairs(self, on_progress: OnProgress, most: int | None = None) -> Iterator[TransferPair]:
        """The pairs of all queries, or of the first `most` that are no rewrites."""
        asked = self._counted(on_progress, most)
        if self._options.block_queries == 1:
            for each in asked:
                for source, position in self._chosen(each):
                    yield self._pair(each, source, position)
            return
        everything = list(asked)
        texts = [each.query for each in everything]
        done = 0
        for members in near_groups(texts, self._options.block_queries):
            yield from self._block([everything[member] for member in members])
            done += len(members)
            on_progress("blocks", done, len(texts))

    def _counted(self, on_progress: OnProgress, most: int | None) -> Iterator[_Asked]:
        """The queries, up to the first `most` that are no rewrites."""
        total = len(self._queries.texts) + self._options.pseudo_queries
        done = 0
        for asked in self._asked():
            if asked.kind != "rewritten":
                if done == most:
                    return
                done += 1
                if done % _EVERY == 0 or done == total:
                    on_progress("queries", done, total)
            self.counts.queries[asked.kind] += 1
            yield asked

    def _block(self, asked: list[_Asked]) -> Iterator[TransferPair]:
        """All of these queries with titles that in turn each of them would have alone."""
        own = [{position: source for source, position in self._chosen(each)} for each in asked]
        pools = [
            self._draw("block", each.query).permutation(list(chosen)).tolist()
            for each, chosen in zip(asked, own, strict=True)
        ]
        titles = in_turns(pools, self._options.block_titles)
        for each, chosen in zip(asked, own, strict=True):
            for position in titles:
                yield self._pair(each, chosen.get(position, "block"), position)

    def _pair(self, asked: _Asked, source: Source, position: int) -> TransferPair:
        self.counts.pairs[source] += 1
        title, product_id = self._products.titles[position], self._products.ids[position]
        return TransferPair(asked.query, title, product_id, source)

    def _asked(self) -> Iterator[_Asked]:
        """Given queries in a random order, rewrites behind each, made ones evenly between."""
        given = sorted(
            self._queries.texts,
            key=lambda query: token_hash(f"{self._options.seed} {query_key(query)}"),
        )
        made = self._pseudo_queries()
        for number, query in enumerate(given):
            judged = self._queries.judged.get(query_key(query), [])
            yield _Asked("given", query, query, judged)
            yield from self._rewrites(query, judged)
            before, until = (
                self._options.pseudo_queries * each // len(given) for each in (number, number + 1)
            )
            yield from islice(made, until - before)
        yield from made

    def _rewrites(self, query: str, judged: list[int]) -> Iterator[_Asked]:
        draw = self._draw("rewrite", query)
        for _ in range(self._options.rewrites):
            changed = rewrite(query, draw)
            if self._usable(changed):
                products = draw.permutation(judged)[:_SOURCES].tolist()
                yield _Asked("rewritten", changed, query, products)

    def _pseudo_queries(self) -> Iterator[_Asked]:
        """Queries made from products in random order; round after round until there are enough."""
        wanted, draw = self._options.pseudo_queries, self._draw("products")
        tries = 0
        while wanted and tries < _TRIES * self._options.pseudo_queries:
            for position in draw.permutation(len(self._products)).tolist():
                title = self._products.titles[position]
                query = self._made.make(title, self._draw("query", str(tries), title))
                tries += 1
                if self._usable(query):
                    yield _Asked("made", query, query, [position])
                    wanted -= 1
                if not wanted or tries == _TRIES * self._options.pseudo_queries:
                    break

    def _usable(self, query: str) -> bool:
        """Whether a made query is new, of the train split, and no query of valid or test."""
        if not query:
            return False
        if split_of(query) != "train" or loose_key(query) in self._queries.held_out_words:
            self.counts.held_out += 1
            return False
        known = token_hash(query_key(query))
        if known in self._seen:
            self.counts.repeated += 1
            return False
        self._seen.add(known)
        return True

    def _chosen(self, asked: _Asked) -> Iterable[tuple[Source, int]]:
        """Distinct products for a query, each with how it came about."""
        given = asked.kind == "given"
        options, draw = self._options, self._draw("pairs", asked.query)
        chosen: list[tuple[Source, int]] = []
        if not given or options.judged:
            chosen += [("judged" if given else "pseudo", position) for position in asked.products]
        taken = set(asked.products)
        wanted = options.pairs_per_query if given else options.pairs_per_made_query
        found, near, far = _apportioned(wanted, options, judged=bool(asked.products))
        ways: list[tuple[Source, NDArray[np.int64] | list[int], int]] = [
            ("bm25", self._index.best(asked.retrieve, options.bm25_depth if found else 0), found),
            ("neighbour", self._near(asked.products, draw) if near else [], near),
        ]
        for source, ranked, count in ways:
            pool = [position for position in map(int, ranked) if position not in taken]
            picked = [pool[rank] for rank in spread(len(pool), count, draw)]
            chosen += [(source if given else "pseudo", position) for position in picked]
            taken.update(picked)
        for position in draw.integers(len(self._products), size=far).tolist():
            if position not in taken:
                chosen.append(("random" if given else "pseudo", position))
                taken.add(position)
        return chosen

    def _near(self, positions: list[int], draw: np.random.Generator) -> list[int]:
        """Products near one of these, or with one of these near them; the nearest first.

        A product near another is paired with the queries of both, so what is near `positions`
        goes both ways.
        """
        lists = []
        for position in draw.permutation(positions)[:_SOURCES].tolist():
            near = self._neighbours.near(position)
            lists.append((near if len(near) else self._nearest(position)).tolist())
            lists.append(draw.permutation(self._neighbours.nearing(position)).tolist())
        longest = max(map(len, lists), default=0)
        mixed = (each[rank] for rank in range(longest) for each in lists if rank < len(each))
        return list(dict.fromkeys(mixed))

    def _nearest(self, position: int) -> NDArray[np.int64]:
        depth = self._options.neighbour_depth
        found = self._index.best(self._products.titles[position], depth + 1)
        others: NDArray[np.int64] = found[found != position][:depth]
        return others

    def _draw(self, *about: str) -> np.random.Generator:
        """Random numbers of their own for each text, whatever other texts there are."""
        return np.random.default_rng([self._options.seed, token_hash("\n".join(about))])


def _apportioned(wanted: int, options: TransferOptions, *, judged: bool) -> tuple[int, int, int]:
    """How many pairs by BM25, near and random; nothing is near where no product is known."""
    near = options.neighbour_share if judged else 0.0
    upto_bm25 = round(wanted * (1 - near - options.random_share))
    upto_near = round(wanted * (1 - options.random_share))
    return upto_bm25, upto_near - upto_bm25, wanted - upto_near
