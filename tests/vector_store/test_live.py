"""The live set of a fingerprint: only a sealed one with the rows that were asked for."""

from collections.abc import Callable

import pytest

from vector_store.errors import SetNotFound
from vector_store.header import SetHeader
from vector_store.live import live_header, live_query_header
from vector_store.memory import MemoryStore

HeaderOf = Callable[..., SetHeader]
SEALED = "2024-05-01T11:00:00Z"


@pytest.fixture
def store_with(header_of: HeaderOf) -> Callable[[dict[str, object]], MemoryStore]:
    """A store whose live set has a header with these fields changed."""

    def made(fields: dict[str, object]) -> MemoryStore:
        store = MemoryStore()
        header = header_of(sealed=SEALED)
        store.put_header(header.model_copy(update=fields))
        store.set_live(header.fingerprint, header.set_id)
        return store

    return made


def test_product_and_query_rows_are_told_apart(
    store_with: Callable[[dict[str, object]], MemoryStore], header_of: HeaderOf
) -> None:
    header = header_of(sealed=SEALED)
    queries = store_with({"dtype": "float32"})
    found = live_query_header(queries, header.fingerprint, header.width)
    assert found is not None
    assert (found.holds, found.record_bytes) == ("queries", 4 * header.width + 12)
    with pytest.raises(SetNotFound, match=r"width 4 of float16, got .* width 4 of float32"):
        live_header(queries, header.fingerprint, header.width)
    products = store_with({})
    assert live_header(products, header.fingerprint, header.width).holds == "products"
    with pytest.raises(SetNotFound, match=r"width 4 of float32, got .* width 4 of float16"):
        live_query_header(products, header.fingerprint, header.width)


def test_no_live_set(header_of: HeaderOf) -> None:
    header = header_of()
    assert live_query_header(MemoryStore(), header.fingerprint, 4) is None
    with pytest.raises(SetNotFound, match="winnow index"):
        live_header(MemoryStore(), header.fingerprint, 4)


def test_a_set_of_another_width_does_not_fit(
    store_with: Callable[[dict[str, object]], MemoryStore], header_of: HeaderOf
) -> None:
    queries = store_with({"dtype": "float32"})
    with pytest.raises(SetNotFound, match=r"expected a sealed set with fingerprint .* and width 8"):
        live_query_header(queries, header_of().fingerprint, 8)
