"""Pairs with the context of a graph, to train and to evaluate on.

Leakage, and what is done about it:
- Edges have train queries only (`GraphOptions.train_split_only`).
- A pair that is trained on is no edge. Of the pairs that both a graph and a student could learn
  from, relevant or not, a share is the graph's alone, the rest the student's alone. To leave a
  pair's own edge out of its texts isn't enough: of one query, the relevant pairs would then have a
  neighbour less than the irrelevant ones, and not the very product that they are about.
- A query that the graph has not looked at may be made from one that it has: "red lamp" of "lamp
  red". Its pairs would see the edges of that one, and so what they are to say. Unless such queries
  are known to be real ones, their pairs see bare products.
- Pairs that a student is evaluated on have the texts they would be served with, of the whole graph;
  where one of them is an edge after all, it doesn't see it.

Context dropout: a share of the training texts stays bare, so that a student learns to do without;
what is new has no context.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distill.errors import ContextRefused
from distill.graph import Graph
from export.pairs import Pairs


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """How training pairs get their texts.

    graph_share: of the training pairs that the graph was made of, too, so many stay with the graph
    dropout: share of the queries, and of the titles, that stay bare
    seed: of both
    real_queries: queries that the graph has not looked at were typed by people, not made from those
        that it has, so their pairs may see products with context

    Raises:
        ContextRefused: not a share.
    """

    graph_share: float = 0.3
    dropout: float = 0.3
    seed: int = 0
    real_queries: bool = False

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("graph_share", "dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ContextRefused(
                    f"{name}: expected a share from 0 to 1, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class PairsInContext:
    """Pairs whose texts have their context, and what the graph knew of each.

    query_known, product_known: whether the query, the product has a neighbour, bool [n]
    """

    pairs: Pairs
    query_known: NDArray[np.bool_]
    product_known: NDArray[np.bool_]


def pairs_in_context(
    graph: Graph, pairs: Pairs, training: TrainingContext | None
) -> PairsInContext:
    """Pairs with the texts they are trained on or, where `training` is None, evaluated on.

    To train on, pairs that stay with the graph are left out.

    Raises:
        ContextRefused: none are left, or no edge is.
    """
    if training is None:
        return _with_texts(graph, pairs, None)
    random = np.random.default_rng(training.seed)
    number = graph.looked_at(pairs)
    of_graph = random.random(number.max(initial=0) + 1) < training.graph_share
    trained = np.flatnonzero((number < 0) | ~of_graph[number])
    part = graph.without(number[trained])
    if not len(trained) or not len(part):
        raise ContextRefused(
            f"{pairs.source}: with graph_share {training.graph_share:g}, {len(part)} of "
            f"{len(graph)} edges and {len(trained)} of {len(pairs)} training pairs are left: "
            "expected some of both; choose another share, or give the graph pairs of its own"
        )
    kept = pairs.take(trained)
    bare = random.random((2, len(kept))) < training.dropout
    if not training.real_queries:
        bare[1] |= ~graph.has_looked_at(kept.queries)
    return _with_texts(part, kept, bare)


def _with_texts(graph: Graph, pairs: Pairs, bare: NDArray[np.bool_] | None) -> PairsInContext:
    """`bare`: which queries, which titles have no context, [2, n]."""
    queries, products = graph.queries.find(pairs.queries), graph.products.find(pairs.titles)
    if bare is None:
        in_context = replace(
            pairs,
            queries=_texts(graph.query_text, pairs.queries, queries, products),
            titles=_texts(graph.product_text, pairs.titles, products, queries),
        )
    else:  # none of them is an edge
        nothing = np.full(len(pairs), -1)
        shown_queries, shown_products = np.where(bare, -1, np.stack([queries, products]))
        in_context = replace(
            pairs,
            queries=_texts(graph.query_text, pairs.queries, shown_queries, nothing),
            titles=_texts(graph.product_text, pairs.titles, shown_products, nothing),
        )
    return PairsInContext(in_context, queries >= 0, products >= 0)


def _texts(
    text_of: Callable[[str, int, int], str],
    given: list[str],
    nodes: NDArray[np.int64],
    but: NDArray[np.int64],
) -> list[str]:
    """The text of each pair; those that are alike are one string."""
    once: dict[tuple[str, int, int], str] = {}
    texts = []
    for key in zip(given, nodes.tolist(), but.tolist(), strict=True):
        if key not in once:
            once[key] = text_of(*key)
        texts.append(once[key])
    return texts
