"""Product rows out of a Redis Cluster: every node's MGETs in one write, all nodes at once.

One MGET per bucket: its keys lie in one slot. Buckets are asked node by node, so that the ids of a
node are one stretch of `positions`.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from redis.cluster import ClusterNode
from redis.crc import key_slot

from vector_store.ids import ProductIds
from vector_store.native_rows import MgetReader, id_buckets, mget_commands
from vector_store.redis_nodes import ClusterNodes, Redirection, with_host
from vector_store.redis_replies import receive, reply_error

TAG: Final = b"{%03d}"


@dataclass(frozen=True, slots=True, eq=False)
class BucketMap:
    """Which node has which bucket, as of one version of the slot map.

    rank: uint16 [bucket_count], place of each bucket when they are sorted by node
    node_of: int64 [bucket_count], by rank: index into `nodes`
    """

    version: int
    nodes: list[ClusterNode]
    rank: NDArray[np.uint16]
    node_of: NDArray[np.int64]


def bucket_map(cluster: ClusterNodes, bucket_count: int) -> BucketMap:
    """The map as of now."""
    version = cluster.version
    masters = [cluster.master_of(key_slot(TAG % bucket)) for bucket in range(bucket_count)]
    nodes = list({node.name: node for node in masters}.values())
    places = {node.name: i for i, node in enumerate(nodes)}
    node_of_bucket = np.array([places[node.name] for node in masters], np.int64)
    order = np.argsort(node_of_bucket, kind="stable")
    rank = np.empty(bucket_count, np.uint16)
    rank[order] = np.arange(bucket_count, dtype=np.uint16)
    return BucketMap(version, nodes, rank, node_of_bucket[order])


def fetch_into(
    values: NDArray[Any],
    status: NDArray[np.uint8],
    ids: ProductIds,
    prefixes: bytes,
    cluster: ClusterNodes,
    buckets: BucketMap,
) -> NDArray[np.int64]:
    """Reads the rows of `ids` into values [n, width] and status [n].

    Returns the positions, int64, that a node redirected: nothing has been written for them.

    Raises:
        redis.RedisError: a node refused or failed.
    """
    ranks = buckets.rank[id_buckets(ids, len(buckets.rank))]
    positions = np.argsort(ranks, kind="stable")
    ranks = ranks[positions]
    inner = np.flatnonzero(np.diff(ranks)) + 1
    starts = np.concatenate(([0], inner, [len(ids)]))
    data, ends = mget_commands(ids, positions, starts, prefixes, len(buckets.rank))
    node_of_group = buckets.node_of[ranks[starts[:-1]]]
    # Groups first[i] to first[i + 1] are those of the i-th node that is asked.
    first = np.concatenate(
        ([0], np.flatnonzero(np.diff(node_of_group)) + 1, [len(node_of_group)])
    ).tolist()
    asked = [buckets.nodes[i] for i in node_of_group[first[:-1]].tolist()]
    bounds = [0, *ends]
    redirected: list[NDArray[np.int64]] = []
    with cluster.connections(asked) as connections:
        for i, connection in enumerate(connections):
            commands = data[bounds[first[i]] : bounds[first[i + 1]]]
            connection.send_packed_command([commands])  # type: ignore[no-untyped-call]
        for i, connection in enumerate(connections):
            node_starts = starts[first[i] : first[i + 1] + 1]
            stretch = positions[node_starts[0] : node_starts[-1]]
            node_starts = node_starts - node_starts[0]
            reader = MgetReader(values, status, stretch, node_starts)
            receive(connection, reader, len(node_starts) - 1)
            for group, text in reader.errors:
                error = reply_error(text)
                if not isinstance(error, Redirection):
                    raise error
                cluster.note_moves([with_host(error, asked[i])])
                redirected.append(stretch[node_starts[group] : node_starts[group + 1]])
    return np.concatenate(redirected) if redirected else np.empty(0, np.int64)
