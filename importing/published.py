"""The layouts of WANDS, Amazon ESCI and Home Depot, as their projects publish them."""

from pathlib import Path
from typing import Final

from importing.errors import ImportRefused
from importing.layout import JudgmentTable, Layout, ProductTable, QueryTable
from importing.table import Table, table_of

WANDS_GRADES: Final = {"Exact": 2.0, "Partial": 1.0, "Irrelevant": 0.0}
ESCI_GRADES: Final = {
    **{"E": 3.0, "S": 2.0, "C": 1.0, "I": 0.0},
    **{"Exact": 3.0, "Substitute": 2.0, "Complement": 1.0, "Irrelevant": 0.0},
}
_ESCI_EXAMPLES: Final = "shopping_queries_dataset_examples.parquet"
_ESCI_PRODUCTS: Final = "shopping_queries_dataset_products.parquet"


def wands(folder: Path) -> Layout:
    """wayfair/WANDS: query.csv, product.csv and label.csv, which are separated by tabs.

    Raises:
        ImportRefused: one of them is not there.
    """
    query, product, label = (
        Table(_found(folder, name, "dataset"), "\t")
        for name in ("query.csv", "product.csv", "label.csv")
    )
    others = {
        **{"category": "product_class", "rating_count": "rating_count"},
        **{"average_rating": "average_rating", "review_count": "review_count"},
    }
    return Layout(
        name="wands",
        products=(ProductTable(product, "product_id", "product_name", others),),
        judgments=JudgmentTable(label, "query_id", "product_id", "label"),
        queries=QueryTable(query, "query_id", "query"),
        grades=WANDS_GRADES,
        relevant_from=2.0,
    )


def esci(path: Path, *, locale: str = "us", small: bool = False) -> Layout:
    """amazon-science/esci-data: a folder with both Parquet files, or one table of the two merged.

    A merged table may lack the split, as it may the flags of the versions.

    Args:
        path: the folder, or a table with the columns of both files.
        locale: us, es or jp; product ids are unique within one.
        small: only the judgements of the reduced version, that of task 1.

    Raises:
        ImportRefused: a file is not there, or can't be read.
    """
    if path.is_dir():
        examples = table_of(_found(path, _ESCI_EXAMPLES, "shopping_queries_dataset"))
        products = table_of(_found(path, _ESCI_PRODUCTS, "shopping_queries_dataset"))
    else:
        examples = products = table_of(path)
    only = {"product_locale": locale}
    flags = {"small_version": "1"} if small else {}
    others = {"brand": "product_brand", "color": "product_color"}
    return Layout(
        name="esci",
        products=(ProductTable(products, "product_id", "product_title", others, only),),
        judgments=JudgmentTable(
            examples,
            *("query", "product_id", "esci_label"),
            split="split" if "split" in examples.columns() else None,
            only=only | flags,
        ),
        queries=None,
        grades=ESCI_GRADES,
        relevant_from=2.0,
    )


def homedepot(folder: Path) -> Layout:
    """Kaggle's Home Depot Product Search Relevance: train.csv, which has queries and titles.

    The products of test.csv, which nobody has judged, are in the catalogue too, where it is there.

    Raises:
        ImportRefused: there is no train.csv.
    """
    judged = table_of(_found(folder, "train.csv", "data"), "latin-1")
    tables = [judged]
    unjudged = _find(folder, "test.csv", "data")
    if unjudged is not None:
        tables.append(table_of(unjudged, "latin-1"))
    return Layout(
        name="homedepot",
        products=tuple(ProductTable(each, "product_uid", "product_title") for each in tables),
        judgments=JudgmentTable(judged, "search_term", "product_uid", "relevance"),
        queries=None,
        grades=None,
        relevant_from=2.33,
    )


def _found(folder: Path, name: str, below: str) -> Path:
    found = _find(folder, name, below)
    if found is None:
        raise ImportRefused(
            f"{folder}: expected {name} there or in its folder {below}, found none: name the "
            "folder as the project publishes it, with archives unpacked"
        )
    return found


def _find(folder: Path, name: str, below: str) -> Path | None:
    places = (folder / below / name, folder / name)
    gzipped = tuple(place.with_name(f"{name}.gz") for place in places)
    return next((place for place in (*places, *gzipped) if place.is_file()), None)
