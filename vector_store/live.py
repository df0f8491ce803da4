"""The one question asked before rows are scored: is the live set the one this student can read?"""

from vector_store.errors import SetMismatch, SetNotFound
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.rows import RowDtype


def live_header(store: VectorStore, fingerprint: str, width: int) -> SetHeader:
    """Header of the live, sealed set of product rows of one product graph.

    Args:
        store: where the sets are.
        fingerprint: the bundle's vector fingerprint; a row of the same width that another model
            made is never scored.
        width: d_p, floats per row.

    Raises:
        SetMismatch: there are product rows, but none of this fingerprint, sealed and fitting.
        SetNotFound: there are no product rows at all, or the live set is gone.
        StoreError: the store failed.
    """
    set_id = store.live(fingerprint)
    if set_id is None:
        headers = store.headers()
        others = ", ".join(header.set_id for header in headers) or "none"
        rows_of_others = any(header.holds == "products" for header in headers)
        raise (SetMismatch if rows_of_others else SetNotFound)(
            f"no live vector set with fingerprint {fingerprint[:8]} (sets in the store: "
            f"{others}); index the catalogue with this student first: winnow index"
        )
    try:
        header = store.header(set_id)
    except SetNotFound as error:
        # Callers of the service read this: it does not say where the store is.
        raise SetNotFound(
            f"the live vector set {set_id} is gone; index the catalogue again: winnow index"
        ) from error
    return _fitting(header, fingerprint, width, "float16")


def live_query_header(store: VectorStore, fingerprint: str, width: int) -> SetHeader | None:
    """Header of the live, sealed set of query rows of one query graph; None where none is live.

    Args:
        store: where the sets are.
        fingerprint: the query fingerprint of the graph that is run.
        width: d_q, floats per row.

    Raises:
        SetMismatch: there is one that is not sealed or does not fit.
        StoreError: the store failed.
    """
    set_id = store.live(fingerprint)
    if set_id is None:
        return None
    return _fitting(store.header(set_id), fingerprint, width, "float32")


def _fitting(header: SetHeader, fingerprint: str, width: int, dtype: RowDtype) -> SetHeader:
    fits = (header.fingerprint, header.width, header.dtype) == (fingerprint, width, dtype)
    if not fits or header.sealed is None:
        raise SetMismatch(
            f"vector set {header.set_id} does not hold rows of this student: expected a sealed set "
            f"with fingerprint {fingerprint[:8]} and width {width} of {dtype}, got fingerprint "
            f"{header.fingerprint[:8]}, width {header.width} of {header.dtype}, "
            f"{'sealed' if header.sealed else 'not sealed'}; index again"
        )
    return header
