"""Published layouts, with invented rows in them: what is read, what is not, and what is written."""

import csv
import gzip
import io
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.judgments import ProductFile, Split, read_judgments, split_of
from export.pairs import PairColumns, read_pairs
from importing.dataset import Imported, import_dataset
from importing.errors import ImportRefused
from importing.layout import JudgmentTable, Layout, ProductTable
from importing.published import esci, homedepot, wands
from importing.table import table_of
from indexing.catalogue import Entry, open_catalogue

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"  # of others, which the project does not ship
EXAMPLES: list[tuple[object, ...]] = [
    (0, "bota de agua", 10, "A1", "es", "E", 1, 1, "train"),
    (1, "rain boots", 11, "A1", "us", "E", 1, 1, "train"),
    (2, "rain boots", 11, "B2", "us", "I", 0, 1, "train"),
    (3, "desk lamp", 12, "C3", "us", "S", 1, 1, "test"),
    (4, "desk lamp", 12, "D4", "us", "C", 1, 1, "test"),
    (5, "desk lamp", 12, "E5", "us", "E", 1, 1, "test"),
    (6, "desk lamp", 12, "C3", "us", "S", 1, 1, "dev"),
]
EXAMPLE_COLUMNS = (
    *("example_id", "query", "query_id", "product_id", "product_locale"),
    *("esci_label", "small_version", "large_version", "split"),
)
PRODUCTS: list[tuple[object, ...]] = [
    ("A1", "Botas", None, "Acme", None, "es"),
    ("A1", "Rain boots, green", "keep feet dry", "Acme", "Green", "us"),
    ("B2", "Garden hose\n50 ft", None, None, None, "us"),
    ("C3", "Floor lamp", None, "Lumo", "Black", "us"),
    ("D4", "Light bulb", None, "Lumo", None, "us"),
    ("E5", None, None, "Lumo", None, "us"),
]
PRODUCT_COLUMNS = (
    *("product_id", "product_title", "product_description"),
    *("product_brand", "product_color", "product_locale"),
)


def run(layout: Layout, out: Path) -> Imported:
    """Imports without anybody watching."""
    return import_dataset(layout, out, lambda phase, done, total: None)


def rows(path: Path) -> list[dict[str, str]]:
    """Records of a CSV file."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def reasons(folder: Path) -> list[str]:
    """Why things were rejected, in order."""
    text = (folder / "rejects.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["reason"] for line in text.splitlines()]


def parquet(path: Path, columns: tuple[str, ...], records: list[tuple[object, ...]]) -> None:
    """Writes a Parquet file."""
    table = pa.table({name: [row[i] for row in records] for i, name in enumerate(columns)})
    pq.write_table(table, path)


@pytest.fixture
def esci_folder(tmp_path: Path) -> Path:
    """The two Parquet files, where the project's repository has them."""
    folder = tmp_path / "esci-data" / "shopping_queries_dataset"
    folder.mkdir(parents=True)
    parquet(folder / "shopping_queries_dataset_examples.parquet", EXAMPLE_COLUMNS, EXAMPLES)
    parquet(folder / "shopping_queries_dataset_products.parquet", PRODUCT_COLUMNS, PRODUCTS)
    return folder.parent


def test_wands(tmp_path: Path) -> None:
    imported = run(wands(HERE / "wands"), tmp_path / "out")
    assert imported.counts == {
        **{"products": 6, "judgments": 10, "queries": 4, "pairs": 10, "relevant": 4},
        **{"repeated_products": 1, "repeated_judgments": 1, "unknown_products": 1, "rejected": 6},
    }
    assert imported.relevance == {2.0: 4, 1.0: 1, 0.0: 5}
    assert reasons(imported.folder) == [
        "product.csv: empty title",
        "product.csv: a second title of its product",
        "label.csv: a second grade of its pair",
        "label.csv: query '9' is not among the queries",
        "label.csv: product '99' is not in the catalogue",
        "label.csv: expected one of Exact, Partial, Irrelevant as the grade, got 'Perfect'",
    ]
    products = rows(imported.folder / "catalogue.csv.gz")
    assert list(products[0]) == [
        *("product_id", "title", "category", "rating_count", "average_rating", "review_count")
    ]
    assert products[4]["title"] == 'bathroom vanity 36" , blue'
    judged = rows(imported.folder / "judgments.csv")
    assert judged[5] == {
        **{"query": '36" blue vanity', "product_id": "4", "relevance": "2"},
        **{"split": split_of('36" blue vanity')},
    }
    assert [float(row["relevance"]) >= 2 for row in judged] == [x == "1" for x in "1001010100"]
    assert pairs_of(imported.folder) == {
        split: [(row["query"], str(int(float(row["relevance"]) >= 2))) for row in part]
        for split in ("train", "valid")
        for part in [[row for row in judged if row["split"] == split]]
    }


def pairs_of(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Query and target of what a student learns from and is validated on."""
    return {
        split: [(row["query"], row["target"]) for row in rows(folder / f"{name}.csv")]
        for split, name in (("train", "pairs"), ("valid", "validation"))
    }


def test_of_a_published_train_part_the_rules_valid_queries_are_kept_to_validate_on(
    tmp_path: Path,
) -> None:
    queries = [f"query {number}" for number in range(60)]
    published = {
        query: "test" if place % 3 == 0 else "train" for place, query in enumerate(queries)
    }
    table = tmp_path / "j.csv"
    lines = [f"{query},1,Red shoe,{at % 2},{published[query]}" for at, query in enumerate(queries)]
    table.write_text("\n".join(["query,product_id,title,relevance,part", *lines]) + "\n")
    source = table_of(table)
    layout = Layout(
        "csv",
        (ProductTable(source, "product_id", "title"),),
        JudgmentTable(source, "query", "product_id", "relevance", "part"),
        None,
        None,
        1.0,
    )
    folder = run(layout, tmp_path / "out").folder
    parts = {
        split: [row["query"] for row in rows(folder / f"judgments.{split}.csv")]
        for split in ("train", "valid", "test")
    }
    learned = [query for query in queries if published[query] == "train"]
    assert parts == {
        "train": [query for query in learned if split_of(query) != "valid"],
        "valid": [query for query in learned if split_of(query) == "valid"],
        "test": [query for query in queries if published[query] == "test"],
    }
    assert parts["valid"]
    assert {split: [query for query, _ in pairs] for split, pairs in pairs_of(folder).items()} == {
        split: parts[split] for split in ("train", "valid")
    }


def test_esci_keeps_its_split_and_one_locale(tmp_path: Path, esci_folder: Path) -> None:
    imported = run(esci(esci_folder), tmp_path / "out")
    assert imported.splits == {"train": 2, "test": 2}
    assert imported.relevance == {3.0: 1, 2.0: 1, 1.0: 1, 0.0: 1}
    assert reasons(imported.folder) == [
        "shopping_queries_dataset_products.parquet: missing title",
        "shopping_queries_dataset_examples.parquet: product 'E5' is not in the catalogue",
        "shopping_queries_dataset_examples.parquet: expected a split train or test, got 'dev'",
    ]
    test = rows(imported.folder / "judgments.test.csv")
    assert [(row["product_id"], row["relevance"]) for row in test] == [("C3", "2"), ("D4", "1")]
    assert {row["query"] for row in rows(imported.folder / "judgments.train.csv")} == {"rain boots"}
    assert rows(imported.folder / "pairs.csv") == [  # nothing of the test part
        {"query": "rain boots", "title": "Rain boots, green", "target": "1", "relevance": "3"},
        {"query": "rain boots", "title": "Garden hose\n50 ft", "target": "0", "relevance": "0"},
    ]
    assert json.loads((imported.folder / "import.json").read_text())["split"] == "published"


def test_esci_of_another_locale_and_of_the_small_version(tmp_path: Path, esci_folder: Path) -> None:
    spanish = run(esci(esci_folder, locale="es"), tmp_path / "es")
    (product,) = rows(spanish.folder / "catalogue.csv.gz")
    assert product == {"product_id": "A1", "title": "Botas", "brand": "Acme", "color": ""}
    small = run(esci(esci_folder, small=True), tmp_path / "small")
    assert small.counts["judgments"] == 3


def test_homedepot_is_latin_1_and_has_the_products_of_test_csv(tmp_path: Path) -> None:
    imported = run(homedepot(HERE / "homedepot"), tmp_path / "out")
    titles = [row["title"] for row in rows(imported.folder / "catalogue.csv.gz")]
    assert titles == [
        *("Corner Brace 12-Gauge", "Deck Over 1 gal. 2-Coat, café brown"),
        *("Shower Trim Kit, 360°", "Garden Hose 50 ft."),
    ]
    judged = rows(imported.folder / "judgments.csv")
    assert [row["relevance"] for row in judged] == ["3", "1.33", "2.33", "2"]
    relevant = [float(row["relevance"]) >= 2.33 for row in judged if row["split"] == "train"]
    assert relevant == [False, True, False]
    assert [target for _, target in pairs_of(imported.folder)["train"]] == ["0", "1", "0"]
    assert imported.counts["rejected"] == 0


def test_the_same_data_gives_the_same_bytes_and_every_reader_takes_them(tmp_path: Path) -> None:
    first, second = (run(wands(HERE / "wands"), tmp_path / name) for name in ("a", "b"))
    for path in sorted(first.folder.iterdir()):
        assert path.read_bytes() == (second.folder / path.name).read_bytes(), path.name
    catalogue = first.folder / "catalogue.csv.gz"
    assert all(isinstance(row, Entry) for row in open_catalogue(catalogue).rows())
    judged = read_judgments(
        first.folder / "judgments.csv", relevant_from=2.0, products=ProductFile(catalogue)
    )
    learned: tuple[tuple[Split, str], ...] = (("train", "pairs"), ("valid", "validation"))
    for split, name in learned:
        part = judged.of_split(split)
        pairs = read_pairs(first.folder / f"{name}.csv", PairColumns())
        assert part.titles == pairs.titles
        assert part.queries == pairs.queries
        assert (part.labels == pairs.labels).all()


def test_a_bad_line_is_rejected_once_where_a_table_is_read_twice(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(HERE / "homedepot", tmp_path / "data"))
    with (folder / "train.csv").open("a") as file:
        file.write('17,900004,"Broken')
    imported = run(homedepot(folder), tmp_path / "out")
    assert imported.counts["rejected"] == 1
    assert imported.counts["judgments"] == 4


@pytest.mark.parametrize("missing", ["query.csv", "product.csv", "label.csv"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = Path(shutil.copytree(HERE / "wands", tmp_path / "dataset"))
    (folder / missing).unlink()
    with pytest.raises(ImportRefused, match=f"expected {missing} there or in its folder dataset"):
        wands(tmp_path)


def test_a_refused_import_leaves_nothing(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(HERE / "wands", tmp_path / "data"))
    (folder / "label.csv").write_text("id\tquery_id\tproduct_id\tgrade\n0\t0\t0\tExact\n")
    with pytest.raises(ImportRefused, match=r"label\.csv: expected one column 'label'.*'grade'"):
        run(wands(folder), tmp_path / "out")
    (folder / "label.csv").write_text("id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tGood\n")
    with pytest.raises(ImportRefused, match=r"found none: 3 refused, at last .*got 'Good'"):
        run(wands(folder), tmp_path / "out")
    (folder / "product.csv.gz").write_bytes(
        gzip.compress((folder / "product.csv").read_bytes())[:-20]
    )
    (folder / "product.csv").unlink()
    with pytest.raises(ImportRefused, match="gzip data is truncated"):
        run(wands(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    (tmp_path / "out").mkdir()
    with pytest.raises(ImportRefused, match="exists already"):
        run(wands(HERE / "wands"), tmp_path / "out")


def test_titles_in_a_table_of_judgments_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "judged.tsv"
    path.write_text("q\tsku\tname\tgrade\nshoes\t1\tRed shoe\tgood\nshoes\t2\tBelt\tbad\n")
    table = table_of(path)
    layout = Layout(
        "csv",
        (ProductTable(table, "sku", "name"),),
        JudgmentTable(table, "q", "sku", "grade"),
        None,
        {"good": 1.0, "bad": 0.0},
        1.0,
    )
    imported = run(layout, tmp_path / "out")
    assert [row["target"] for row in rows(imported.folder / "pairs.csv")] == ["1", "0"]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the data sets in ../shared/data")
def test_the_real_home_depot(tmp_path: Path) -> None:
    imported = run(homedepot(DATA / "homedepot"), tmp_path / "out")
    assert imported.counts["judgments"] == 62_726
    assert imported.counts["products"] == 47_995
    assert imported.splits == {"train": 46_787, "valid": 6_318, "test": 9_621}
    assert imported.relevance[3.0] == 16_030


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the data sets in ../shared/data")
def test_the_real_esci_rows(tmp_path: Path) -> None:
    imported = run(esci(DATA / "esci_sample" / "esci.csv"), tmp_path / "out")
    assert imported.relevance == {3.0: 117, 2.0: 39, 0.0: 12, 1.0: 1}
    assert imported.counts["rejected"] == 0
