"""`winnow index` killed at random moments and run again: nothing is lost, nothing is there twice.

Rows are read from Redis by their documented keys, and compared with those of a run that nobody
disturbed. Their last four bytes are the time of encoding, which differs.

Python's start costs more than such a build, so all runs are forks of one process that has imported
what the command needs. They end without a farewell to ONNX Runtime, whose threads did not come
along.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from loadtest.chaos_redis import RedisProcess, lasting_redis
from loadtest.chaos_serving import Result, Shop
from loadtest.commands import CommandFailed

_TIME_BYTES: Final = 4
_LOOK_EVERY_S: Final = 0.002
_WRITES_WITHIN_S: Final = 240.0
_ENDS_WITHIN_S: Final = 240.0
_FORKER: Final = """
import json, os, sys
import cli.index, cli.main, indexing.index, model_store.student, vector_store.open
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        sys.argv = json.loads(line)
        try:
            cli.main.main()
        except SystemExit as ended:
            os._exit(ended.code or 0)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""

Rows = dict[bytes, list[bytes]]
"""By product id: what the live set has for it, which is one row."""


def indexing_killed(shop: Shop, work: Path, times: int) -> Result:
    """SIGKILL to the indexer, each time at a moment drawn from what a whole run takes."""
    result = Result("winnow index killed and run again")
    draw = random.Random(shop.seed)
    with lasting_redis(work / "indexed") as server, closing(_Indexer(shop, work, server)) as runner:
        writing_s = runner.undisturbed("clean")
        expected = rows_of(server, "clean")
        build = 0
        for _ in result.repeated(times, shop.seconds):
            while not runner.killed(f"killed-{build}", draw.uniform(0, writing_s)):
                compare(expected, rows_of(server, f"killed-{build}"), result)
                build += 1
        runner.undisturbed(f"killed-{build}")
        compare(expected, rows_of(server, f"killed-{build}"), result)
    return result


def compare(expected: Rows, got: Rows, result: Result) -> None:
    """Counts equal rows as right, and all others as wrong."""
    right = sum(got.get(key) == rows for key, rows in expected.items())
    wrong = len(expected.keys() | got.keys()) - right
    result.right += right
    result.wrong += wrong
    if wrong:
        missing = len(expected.keys() - got.keys())
        twice = sum(len(rows) > 1 for rows in got.values())
        result.notes.append(f"{wrong} rows differ, {missing} are missing, {twice} are there twice")


def rows_of(server: RedisProcess, namespace: str) -> Rows:
    """The live rows of a namespace, without the time of their encoding."""
    rows: Rows = {}
    with server.client() as client:
        live: list[bytes] = client.hvals(f"{namespace}:live")
        # <ns>:<set>:{<bucket>}:<product id>
        pattern = b"%s:%s:{*}:*" % (namespace.encode(), live[0])
        keys = list(client.scan_iter(match=pattern, count=10_000))
        for start in range(0, len(keys), 1_000):
            some = keys[start : start + 1_000]
            for key, record in zip(some, client.mget(some), strict=True):
                rows.setdefault(key.split(b":", 3)[3], []).append(record[:-_TIME_BYTES])
    return rows


class _Indexer:
    """Runs `winnow index` into namespaces of one Redis, one run at a time."""

    def __init__(self, shop: Shop, work: Path, server: RedisProcess) -> None:
        self._shop = shop
        self._work = work
        self._server = server
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
        self._before: list[bytes | None] = []
        self._log = work / "index.log"
        with self._log.open("wb") as log:
            self._forker = subprocess.Popen(
                [sys.executable, "-c", _FORKER],
                bufsize=0,  # select() must see what is left to read
                env=kept,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def close(self) -> None:
        """Ends the process that forks."""
        self._forker.kill()
        self._forker.communicate()

    def undisturbed(self, namespace: str) -> float:
        """Seconds from its first write to its end.

        Raises:
            CommandFailed: it did not succeed.
        """
        self._start(namespace)
        self._wait_for_a_write(namespace)
        started_s = time.monotonic()
        self._check(self._ended(_ENDS_WITHIN_S))
        return time.monotonic() - started_s

    def killed(self, namespace: str, after_s: float) -> bool:
        """Kills it so long after its first write; False where it had ended by then.

        Raises:
            CommandFailed: it ended by itself, and not well.
        """
        pid = self._start(namespace)
        self._wait_for_a_write(namespace)
        ended = self._ended(after_s)
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            ended = self._ended(_ENDS_WITHIN_S)
        if ended == signal.SIGKILL:
            return True
        self._check(ended)
        return False

    def _start(self, namespace: str) -> int:
        """Process id of a new run."""
        shop = self._shop
        command = [
            *("winnow", "index", str(shop.catalogue), "--model", shop.model),
            *("--bundles", str(shop.bundles), "--store", f"{self._server.url}?ns={namespace}"),
            *("--reject-file", str(self._work / f"{namespace}.jsonl")),
        ]
        self._before = self._progress(namespace)
        assert self._forker.stdin is not None
        self._forker.stdin.write(json.dumps(command).encode() + b"\n")
        self._forker.stdin.flush()
        return self._said()

    def _ended(self, within_s: float) -> int | None:
        """Status of the run as wait() has it; None where it goes on."""
        assert self._forker.stdout is not None
        readable, _, _ = select.select([self._forker.stdout], [], [], within_s)
        return self._said() if readable else None

    def _said(self) -> int:
        assert self._forker.stdout is not None
        line = self._forker.stdout.readline()
        if not line:
            raise CommandFailed(f"winnow index: {self._log.read_text()[-2000:]}")
        return int(line)

    def _check(self, status: int | None) -> None:
        if status != 0:
            raise CommandFailed(f"winnow index: {status}, {self._log.read_text()[-2000:]}")

    def _wait_for_a_write(self, namespace: str) -> None:
        """Returns when the progress has changed: from then on there is something to lose."""
        give_up = time.monotonic() + _WRITES_WITHIN_S
        while self._progress(namespace) == self._before:
            if time.monotonic() > give_up:
                log = self._log.read_text()[-2000:]
                raise CommandFailed(f"winnow index wrote nothing in {_WRITES_WITHIN_S:g} s: {log}")
            time.sleep(_LOOK_EVERY_S)

    def _progress(self, namespace: str) -> list[bytes | None]:
        """What every build of the namespace has noted so far."""
        with self._server.client() as client:
            sets: set[bytes] = client.smembers(f"{namespace}:sets")
            names = [b"%s:progress:%s" % (namespace.encode(), each) for each in sorted(sets)]
            found: list[bytes | None] = client.mget(names) if names else []
        return found
