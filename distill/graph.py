"""The bipartite graph of queries and products, and a node's text with that of its neighbours.

k-order contextual matching in the manner of BERM (Liu et al., EMNLP 2022 industry). Only its
abstract is public to us: a bipartite graph of queries and products, matching of higher order over
neighbours, edges refined by a teacher (so the authors' predecessor, arXiv 2101.04850), and an
online model without a graph. Everything else here is ours, above all that neighbours become text:

    query text    = q  [SEP] title of p_1 [SEP] title of p_2 ...      p_j: best neighbours of q
    product text  = p  [SEP] q_1 [SEP] q_2 ...                        q_j: best neighbours of p

Matched with one another these texts hold all orders up to the second: (q, p); (q, neighbours of p)
and (neighbours of q, p); (neighbours of q, neighbours of p). Both are made offline, so a student
that reads them is like any other: product rows come from a catalogue with such titles, rows of
frequent queries from a file of such texts, and a query that nobody has stored is encoded as it is.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.errors import ContextRefused
from distill.transfer_inputs import loose_key
from evaluation.judgments import query_key, split_of
from export.pairs import Pairs
from model_store.cwub import units

# WordPiece takes it for the token between two texts; for CWUB it is a word like any other.
SEPARATOR = " [SEP] "


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """What becomes an edge, and how much of a neighbour's text is taken.

    keep_from: lowest target, that is a teacher's score, of an edge
    neighbours: so many of a node, the best ones
    words: of each; CWUB units, so one Chinese character is one
    train_split_only: no edge has a query of the valid or test split

    Raises:
        ContextRefused: a value out of range.
    """

    keep_from: float = 0.5
    neighbours: int = 5
    words: int = 8
    train_split_only: bool = True

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0.0 < self.keep_from <= 1.0:
            raise ContextRefused(
                f"keep_from: expected above 0 and at most 1 (a probability), got {self.keep_from}"
            )
        for name in ("neighbours", "words"):
            if getattr(self, name) < 1:
                raise ContextRefused(f"{name}: expected at least 1, got {getattr(self, name)}")


class Nodes:
    """Texts as numbers: 0, 1, ... in order of first sight; spellings of one key are one node."""

    def __init__(self, key: Callable[[str], str]) -> None:
        """`key` says what spellings have in common."""
        self._key = key
        self._of_key: dict[str, int] = {}
        self.texts: list[str] = []  # the first spelling of each node

    def add(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The nodes of texts, made where they are new."""
        for text in dict.fromkeys(texts):
            if self._of_key.setdefault(self._key(text), len(self.texts)) == len(self.texts):
                self.texts.append(text)
        return self.find(texts)

    def find(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The nodes of texts; -1 where there is none."""
        found = {text: self._of_key.get(self._key(text), -1) for text in dict.fromkeys(texts)}
        return np.array([found[text] for text in texts], dtype=np.int64)


class Side:
    """The nodes of one kind, each with its neighbours from the best down."""

    def __init__(
        self,
        nodes: Nodes,
        edges: NDArray[np.int64],
        others: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> None:
        """Of each of E edges: its node here, its node on the other side, its score."""
        self.nodes = nodes
        order = np.lexsort((others, -scores, edges))
        self._others = others[order]
        self._degrees = np.bincount(edges, minlength=len(nodes.texts))
        self._starts = np.cumsum(self._degrees) - self._degrees

    def __len__(self) -> int:
        """Number of nodes that have a neighbour."""
        return int(np.count_nonzero(self._degrees))

    def find(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The nodes of texts; -1 where there is none that has a neighbour."""
        found = self.nodes.find(texts)
        return np.where((found >= 0) & (self._degrees[found] > 0), found, -1)

    def neighbours(self, node: int, most: int, but: int = -1) -> list[int]:
        """The best `most` neighbours of a node, the node `but` not among them."""
        start, end = int(self._starts[node]), int(self._starts[node] + self._degrees[node])
        found: list[int] = self._others[start : min(end, start + most + 1)].tolist()
        return [other for other in found if other != but][:most]


class Graph:
    """Queries and products with an edge where they belong together.

    Spellings are one node: of a query, whatever its order of words, its plurals and punctuation;
    of a product, whatever its case and white space. Otherwise what belongs to a pair would come
    back to it under another spelling.
    """

    def __init__(self, pairs: Pairs, options: GraphOptions) -> None:
        """Edges are the pairs whose target is `keep_from` or more; of repeated ones the best.

        Raises:
            ContextRefused: no pair is an edge.
        """
        self.options = options
        usable = pairs
        if options.train_split_only:
            is_train = {query: split_of(query) == "train" for query in dict.fromkeys(pairs.queries)}
            usable = pairs.take(np.flatnonzero([is_train[query] for query in pairs.queries]))
        self._queries, self._products = Nodes(_query_key), Nodes(query_key)
        codes = self._codes(self._queries.add(usable.queries), self._products.add(usable.titles))
        best = np.lexsort((-usable.targets, codes))
        self._seen, first = np.unique(codes[best], return_index=True)
        targets = usable.targets[best][first]
        edges = np.flatnonzero(targets >= options.keep_from)
        if not len(edges):
            raise ContextRefused(
                f"{pairs.source}: expected pairs of train queries with a target of "
                f"{options.keep_from:g} or more, found none among {len(pairs)}: lower keep_from, "
                "or give other pairs"
            )
        self._join(edges, targets[edges])
        known = self.queries.find(usable.queries) >= 0
        spellings = (usable.queries[row] for row in np.flatnonzero(known))
        self.query_spellings = list(dict.fromkeys(spellings))  # of queries that have an edge

    def _join(self, edges: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        self._edges, self._scores = edges, scores
        queries, products = np.divmod(self._seen[edges], len(self._products.texts))
        self.queries = Side(self._queries, queries, products, scores)
        self.products = Side(self._products, products, queries, scores)

    def __len__(self) -> int:
        """Number of edges."""
        return len(self._edges)

    def looked_at(self, pairs: Pairs) -> NDArray[np.int64]:
        """Which of the pairs that the graph was made of, edges or not, each of these is; -1: none.

        Pairs of the same two nodes have the same number.
        """
        queries, products = self._queries.find(pairs.queries), self._products.find(pairs.titles)
        codes = self._codes(queries, products)
        place = np.minimum(np.searchsorted(self._seen, codes), len(self._seen) - 1)
        known = (self._seen[place] == codes) & (queries >= 0) & (products >= 0)
        return np.where(known, place, -1)

    def has_looked_at(self, queries: Sequence[str]) -> NDArray[np.bool_]:
        """Whether a query is among those that the graph was made of, with an edge or without."""
        return self._queries.find(queries) >= 0

    def without(self, pairs: NDArray[np.int64]) -> "Graph":
        """The same graph, where these pairs (numbers of `looked_at`) are no edges."""
        kept = ~np.isin(self._edges, pairs)
        other = copy(self)
        other._join(self._edges[kept], self._scores[kept])
        return other

    def query_text(self, query: str, node: int, but: int = -1) -> str:
        """A query with its neighbours' titles, without the product `but`.

        `node` is what `queries.find` gives: -1 is a query that stands alone.
        """
        return self._with_context(query, self.queries, node, self._products.texts, but)

    def product_text(self, title: str, node: int, but: int = -1) -> str:
        """A title with its neighbours' queries, without the query `but`; as `query_text`."""
        return self._with_context(title, self.products, node, self._queries.texts, but)

    def _with_context(
        self, text: str, side: Side, node: int, others: Sequence[str], but: int
    ) -> str:
        if node < 0:
            return text
        found = side.neighbours(node, self.options.neighbours, but)
        words = (" ".join(units(others[each])[: self.options.words]) for each in found)
        return SEPARATOR.join([text, *filter(None, words)])

    def _codes(self, queries: NDArray[np.int64], products: NDArray[np.int64]) -> NDArray[np.int64]:
        """One number for each pair of nodes."""
        return queries * len(self._products.texts) + products


def _query_key(query: str) -> str:
    return loose_key(query) or query_key(query)
