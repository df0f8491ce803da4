"""The one question asked before rows are scored: is the live set the one this student can read?"""

from vector_store.errors import SetNotFound
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore


def live_header(store: VectorStore, fingerprint: str, width: int) -> SetHeader:
    """Header of the live, sealed set of product rows of one product graph.

    Args:
        store: where the sets are.
        fingerprint: the bundle's vector fingerprint; a row of the same width that another model
            made is never scored.
        width: d_p, floats per row.

    Raises:
        SetNotFound: no such set, or one that is not sealed or does not fit.
        StoreError: the store failed.
    """
    set_id = store.live(fingerprint)
    if set_id is None:
        others = ", ".join(header.set_id for header in store.headers()) or "none"
        raise SetNotFound(
            f"no live vector set with fingerprint {fingerprint[:8]} (sets in the store: "
            f"{others}); index the catalogue with this student first: winnow index"
        )
    header = store.header(set_id)
    if header.fingerprint != fingerprint or header.width != width or header.sealed is None:
        raise SetNotFound(
            f"vector set {set_id} does not hold rows of this student: expected a sealed set with "
            f"fingerprint {fingerprint[:8]} and width {width}, got fingerprint "
            f"{header.fingerprint[:8]}, width {header.width}, "
            f"{'sealed' if header.sealed else 'not sealed'}; index the catalogue again"
        )
    return header
