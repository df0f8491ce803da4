"""`winnow context`: pairs, a catalogue and queries with the context of a graph."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import answer, say, show
from cli.progress import progress_bar


def context(
    pairs: Annotated[
        Path, typer.Option(help="pairs to train on: query, title, target in [0, 1], or --labels")
    ],
    out: Annotated[Path, typer.Option(help="folder to write; must not exist")],
    labels: Annotated[
        list[Path] | None, typer.Option(help="labels of --pairs in place of targets")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="of both labels: divides the teachers' logits")
    ] = 1.0,
    hard_column: Annotated[
        str | None, typer.Option(help="of a human label beside the target, carried along")
    ] = None,
    max_pairs: Annotated[int | None, typer.Option(help="only so many, from the start")] = None,
    interactions: Annotated[
        Path | None,
        typer.Option(help="pairs of real queries that edges are made of; else those of --pairs"),
    ] = None,
    interaction_labels: Annotated[
        list[Path] | None, typer.Option(help="labels of --interactions in place of targets")
    ] = None,
    evaluate: Annotated[
        list[Path] | None,
        typer.Option(help="tables with query and title, copied with the texts of serving"),
    ] = None,
    catalogue: Annotated[Path | None, typer.Option(help="products to index")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="whose rows will be stored; else those of the graph")
    ] = None,
    keep_from: Annotated[float, typer.Option(help="lowest target of an edge")] = 0.5,
    neighbours: Annotated[int, typer.Option(help="the best ones of a node")] = 5,
    words: Annotated[int, typer.Option(help="of each neighbour; a Chinese character is one")] = 8,
    train_split_only: Annotated[
        bool,
        typer.Option(
            "--train-split-only/--all-queries",
            help="no edge has a query of the valid or test split",
        ),
    ] = True,
    graph_share: Annotated[
        float, typer.Option(help="of pairs that graph and student could both have: the graph's")
    ] = 0.3,
    dropout: Annotated[
        float, typer.Option(help="share of training texts without their context")
    ] = 0.3,
    real_queries: Annotated[
        bool,
        typer.Option(
            "--real-queries/--made-queries",
            help="training queries that the graph lacks: typed by people, or perhaps made from "
            "those that it has, whose pairs then see products without context",
        ),
    ] = False,
    seed: int = 0,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    id_column: Annotated[str, typer.Option(help="in the catalogue")] = "product_id",
    as_json: Annotated[bool, typer.Option("--json", help="the counts on standard output")] = False,
) -> None:
    """k-order context: every text with those of its neighbours in a graph of queries and products.

    Edges are pairs with a target of --keep-from or more. No pair that is trained on is an edge.

    Then: winnow train --pairs OUT/pairs.csv; winnow index OUT/catalogue.csv; winnow index --queries
    OUT/queries.csv --text-column text. The service is asked as ever: by query and product ids.
    """
    from distill.context import TrainingContext
    from distill.context_files import ContextInputs, write_context
    from distill.graph import Graph, GraphOptions
    from distill.training_pairs import PairSource, read_training_pairs
    from export.pairs import PairColumns
    from indexing.catalogue import open_catalogue, open_queries

    if interaction_labels and interactions is None:
        raise typer.BadParameter("--interaction-labels: expected --interactions, which they are of")
    training = TrainingContext(
        graph_share=graph_share, dropout=dropout, seed=seed, real_queries=real_queries
    )
    options = GraphOptions(
        keep_from=keep_from,
        neighbours=neighbours,
        words=words,
        train_split_only=train_split_only,
    )
    columns = PairColumns(query_column, title_column, target_column)
    source = PairSource(
        path=pairs,
        columns=columns,
        labels=tuple(labels or ()),
        temperature=temperature,
        hard_column=hard_column,
        max_pairs=max_pairs,
    )
    say(f"reading {pairs} ...")
    given = read_training_pairs(source)
    edges = given
    if interactions is not None:
        of_edges = PairSource(
            path=interactions,
            columns=columns,
            labels=tuple(interaction_labels or ()),
            temperature=temperature if interaction_labels else 1.0,
        )
        edges = read_training_pairs(of_edges)
    graph = Graph(edges, options)
    say(
        f"graph: {len(graph):,} edges between {len(graph.queries):,} queries and "
        f"{len(graph.products):,} products"
    )
    inputs = ContextInputs(
        training=given,
        evaluation=tuple(evaluate or ()),
        columns=columns,
        catalogue=None
        if catalogue is None
        else open_catalogue(catalogue, id_column=id_column, title_column=title_column),
        queries=None if queries is None else open_queries(queries, query_column=query_column),
    )
    with progress_bar() as on_progress:
        written = write_context(graph, inputs, training, out, on_progress)
    if as_json:
        answer({"edges": len(graph), "files": [vars(each) for each in written]})
    show(
        f"{out}: rows whose query or product the graph knows",
        ("file", "rows", "query", "product", "both", "left out"),
        [
            (
                each.file,
                f"{each.rows:,}",
                *_shares(each.rows, each.query_known, each.product_known, each.both_known),
                each.left_out or "",
            )
            for each in written
        ],
    )


def _shares(rows: int, *counts: int) -> list[str]:
    return [f"{count / max(1, rows):.1%}" if count else "" for count in counts]
