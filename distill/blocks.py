"""Blocks of a transfer set: like queries that are all paired with the same titles.

What a student with an encoder learns from costs by the text, not by the pair: a batch of Q queries
and T titles has Q x T pairs for Q + T texts. Queries of a block are near each other, and its titles
belong to some of them, so most of its pairs are as hard to tell as those of one query.
"""

from collections.abc import Iterator, Sequence

from distill.retrieval import TitleIndex

_DEPTH = 8  # so many groups' worth of near texts are looked at: most are in a group already


def near_groups(texts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Positions of n texts in groups of `size`, each in one: the first that is free and, by BM25,
    those nearest to it. Where too few are near, such groups are put together; the last may be less.
    """
    index = TitleIndex(texts)
    free = [True] * len(texts)
    few: list[int] = []
    for first, text in enumerate(texts):
        if not free[first]:
            continue
        near = [at for at in index.best(text, _DEPTH * size).tolist() if free[at] and at != first]
        group = [first, *near[: size - 1]]
        for at in group:
            free[at] = False
        if len(group) == size:
            yield group
            continue
        few += group
        if len(few) >= size:
            yield few[:size]
            few = few[size:]
    if few:
        yield few


def in_turns(pools: Sequence[Sequence[int]], most: int) -> list[int]:
    """At most so many distinct numbers: the first of each pool, then the second of each, ..."""
    longest = max(map(len, pools), default=0)
    turns = (pool[turn] for turn in range(longest) for pool in pools if turn < len(pool))
    return list(dict.fromkeys(turns))[:most]
