"""The README as a newcomer does it: its blocks in order, in one shell, on a copy of the files."""

import csv
import gzip
import shutil
from pathlib import Path

from tests.docs.blocks import ROOT, Block, blocks, checkout, free_ports, run_in_order

PAGE = ROOT / "README.md"
SHOP = ROOT / "examples" / "shop"
# Lines that CI does not run, and why.
NOT_RUN = {
    "docker compose -f deploy/compose.yaml up --build    # with Redis, Prometheus and Grafana; "
    "Kubernetes: docs/operations.md": "needs Docker; tests/deploy holds the image and the file",
}
# Commands that go on running: they do so in the background, and the next waits until they answer.
SERVES = ("make demo", "winnow serve --models mine --store redis://localhost:6379/0")
IN_BACKGROUND = """
if [ -n "${{server:-}}" ]; then  # one is there already: it has to be gone, not only told to go
  kill $server
  while curl -so /dev/null http://127.0.0.1:8000/healthz; do sleep 0.2; done
fi
{command} &
server=$!
until curl -sf http://127.0.0.1:8000/readyz; do kill -0 $server; sleep 0.2; done
"""
# Of the shop's judgements, which stand for those of the reader.
EVERY = 10


def judged(split: str) -> list[tuple[str, str, float]]:
    """Query, title and target of some judgements of the shop."""
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        titles = {row["product_id"]: row["title"] for row in csv.DictReader(file)}
    with (SHOP / f"judgments.{split}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::EVERY]
    return [(row["query"], titles[row["product_id"]], int(row["relevance"]) / 3) for row in rows]


def write_stand_ins(folder: Path) -> None:
    """pairs.csv, validation.csv, judged.csv and catalogue.csv.gz of the reader."""
    for name, split in (("pairs", "train"), ("validation", "valid")):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("query", "title", "target"), *judged(split)])
    shutil.copy(SHOP / "judgments.test.csv", folder / "judged.csv")
    catalogue = gzip.compress((SHOP / "products.csv").read_bytes())
    (folder / "catalogue.csv.gz").write_bytes(catalogue)


def script(block: Block) -> str:
    """What is run of a block: all of it, with commands that serve in the background."""
    lines = []
    for line in block.text.splitlines():
        command = line.partition("  #")[0].rstrip()
        if line in NOT_RUN:
            continue
        if command in SERVES:
            lines.append(IN_BACKGROUND.format(command=command))
        else:
            lines.append(line)
    return "\n".join(lines)


def test_every_block_is_of_commands() -> None:
    assert {block.language for block in blocks(PAGE)} <= {"", "sh"}


def test_every_line_that_is_handled_apart_is_there() -> None:
    lines = [line for block in blocks(PAGE) for line in block.text.splitlines()]
    commands = {line.partition("  #")[0].rstrip() for line in lines}
    assert set(NOT_RUN) <= set(lines)
    assert set(SERVES) <= commands


def test_every_command_does_what_the_readme_says(tmp_path: Path, redis_url: str) -> None:
    folder = checkout(tmp_path)
    write_stand_ins(folder)
    [port] = free_ports(1)
    scripts = [
        script(block).replace(":8000", f":{port}").replace("redis://localhost:6379/0", redis_url)
        for block in blocks(PAGE)
    ]
    settings = {"PORT": str(port), "WINNOW_PORT": str(port), "WINNOW_WORKERS": "1"}
    printed = "".join(run_in_order(scripts, folder, settings))
    assert '"model":"shop-reprbert"' in printed  # of the first curl
    assert "mine: version 1 is active" in printed
    assert "on judged.csv" in printed  # of the evaluation over HTTP
