"""What a vocabulary of 3 million entries costs: once per machine, not once per worker.

`pytest -s` prints the figures that docs/vocabulary.md quotes.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model_store.cwub import VOCABULARY_FILE, Vocabulary

ENTRIES = 3_000_000

MAPPED = """
import json, sys
from pathlib import Path
from model_store.cwub import Vocabulary
path = Path(sys.argv[1])
vocabulary = Vocabulary.open(path)
for i in range(20_000):
    vocabulary.ids(f"query {i} 词{i}")
int(vocabulary._hashes.sum())  # touches every page
print("ready", flush=True)
sys.stdin.readline()
fields, inside = {}, False
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0] and ":" not in line.split()[0]:
        inside = line.rstrip().endswith(path.name)
    elif inside and line.split()[0] in ("Rss:", "Pss:", "Private_Dirty:", "Private_Clean:"):
        name = line.split()[0].rstrip(":")
        fields[name] = fields.get(name, 0) + int(line.split()[1]) * 1024
print(json.dumps(fields), flush=True)
"""

# VmRSS, not getrusage: the latter's maximum starts at that of the process this one came from.
DICT = """
def resident():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["VmRSS"].split()[0]) * 1024
before = resident()
table = {f"token{i} 词{i}": i for i in range(3_000_000)}
print(resident() - before)
"""


@pytest.fixture(scope="module")
def vocabulary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hashes = np.random.default_rng(7).integers(0, 2**64, ENTRIES, dtype=np.uint64)
    path = tmp_path_factory.mktemp("vocabulary") / VOCABULARY_FILE
    Vocabulary(np.unique(hashes)).save(path)
    return path


def test_workers_share_the_pages_of_one_vocabulary(vocabulary_file: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", MAPPED, str(vocabulary_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    costs = []
    for worker in workers:
        # All are mapped now; each one measures while the other still holds its map.
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
        costs.append(json.loads(worker.stdout.readline()))
    for worker in workers:
        worker.communicate(timeout=30)
    size = vocabulary_file.stat().st_size
    print(f"\n{ENTRIES} entries: {size / 1e6:.0f} MB mapped; first worker {costs[0]}")
    assert costs[0]["Rss"] >= 0.99 * size
    assert costs[0]["Pss"] <= 0.6 * size
    assert costs[0]["Private_Dirty"] == 0


def test_a_dict_per_worker_would_cost_an_order_of_magnitude_more(vocabulary_file: Path) -> None:
    dict_bytes = int(
        subprocess.run(
            [sys.executable, "-c", DICT], capture_output=True, text=True, check=True
        ).stdout
    )
    print(f"\na dict of {ENTRIES} strings: {dict_bytes / 1e6:.0f} MB in every worker")
    assert dict_bytes > 10 * vocabulary_file.stat().st_size
