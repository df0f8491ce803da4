"""`make demo`: index the shop into LMDB, serve it, ask one question of /score and one of /filter.

    python examples/shop/demo.py [--port 8000] [--once] [--no-questions]

Leaves the service running until Ctrl-C, unless --once is given.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

SHOP = Path(__file__).parent
ROOT = SHOP.parent.parent
STORE = ROOT / ".data" / "shop"
MODELS = ("shop-reprbert", "shop-bert2dnn", "shop-deepdot")
QUERY = "red running shoes"
WINNOW = str(Path(sys.executable).parent / "winnow")
READY_WITHIN_S = 180  # a busy machine starts a worker in a minute


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description="index, serve and query the example shop")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--once", action="store_true", help="stop after the two answers")
    parser.add_argument("--no-questions", action="store_true", help="only index and serve")
    options = parser.parse_args()
    shutil.rmtree(STORE, ignore_errors=True)
    for model in MODELS:
        _index(model)
    url = f"http://127.0.0.1:{options.port}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as Ctrl-C: the service ends too
    server = _serve(options.port)
    try:
        _wait_until_ready(url, server)
        if not options.no_questions:
            _ask(url)
        if not options.once:
            print(f"\nServing on {url}. See it at work: {url}/ (the playground)", flush=True)
            print(f"The API: {url}/docs. Ctrl-C stops it.", flush=True)
            server.wait()
    except KeyboardInterrupt:
        print("stopping")
    finally:
        server.terminate()
        server.wait()


def _index(model: str) -> None:
    command = [WINNOW, "index", str(SHOP / "products.csv"), "--model", model]
    rejects = ROOT / ".data" / f"{model}.rejects.jsonl"
    command += ["--store", f"lmdb:{STORE}", "--reject-file", str(rejects)]
    subprocess.run(command, check=True, env=_environment())


def _serve(port: int) -> "subprocess.Popen[bytes]":
    command = [WINNOW, "serve", "--store", f"lmdb:{STORE}", "--models", ",".join(MODELS)]
    playground = {
        "WINNOW_PLAYGROUND_CATALOGUE": str(SHOP / "products.csv"),
        "WINNOW_PLAYGROUND_JUDGMENTS": str(SHOP / "judgments.test.csv"),
    }
    return subprocess.Popen([*command, "--port", str(port)], env=_environment() | playground)


def _environment() -> dict[str, str]:
    """The environment without a user's own WINNOW_ settings: the demo always shows the shop."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}


def _wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)
    sys.exit(f"the service was not ready on {url} within {READY_WITHIN_S} s: see its message above")


def _ask(url: str) -> None:
    """One question each, on a dozen products that share a word with the query."""
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        products = {row["product_id"]: row for row in csv.DictReader(file)}
    words = set(QUERY.split())
    found = [name for name, row in products.items() if words & set(row["title"].lower().split())]
    candidates = found[:: max(1, len(found) // 12)][:12]
    answer = _curl(url, "/score", {"query": QUERY, "product_ids": candidates})
    best = sorted(zip(answer["scores"], candidates, strict=True), reverse=True)
    print(f"\nBest of {len(best)} for {QUERY!r}, by {answer['model']}:")
    for score, name in best[:5]:
        print(f"  {score:.3f}  {products[name]['title']}")
    prices = [float(products[name]["price"]) for name in candidates]
    page = {"query": QUERY, "product_ids": candidates, "sort": "price", "sort_values": prices}
    answer = _curl(url, "/filter", page)
    print(f"\nThe page sorted by price, threshold {answer['threshold']:.3f}:")
    for mark in ("kept", "removed"):
        for name in answer[mark]:
            print(f"  {mark:7} {products[name]['price']:>8}  {products[name]['title']}")


def _curl(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Asks, and prints the same question as a curl command with its answer."""
    data = json.dumps(body, ensure_ascii=False)
    print(f"\ncurl -s {url}{path} -H 'Content-Type: application/json' -d {shlex.quote(data)}")
    response = httpx.post(f"{url}{path}", json=body, timeout=10)
    print(response.text)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


if __name__ == "__main__":
    main()
