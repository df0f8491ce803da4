"""The folder in which workers agree: who lives, and what was written whole."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from model_store.rollout import Rollout
from service.plan import Agenda, Board, Membership, Plan, Report

WORKER = (
    "import sys, time, pathlib; from service.plan import *; folder = pathlib.Path(sys.argv[1]); "
    "member = Membership(folder); Board(folder).report(Report(pid=os.getpid(), serving=3)); "
    "print('registered', flush=True); time.sleep(600)"
)


def test_a_killed_worker_is_gone_at_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    worker = subprocess.Popen(
        [sys.executable, "-c", f"import os; {WORKER}", str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"registered\n"
    assert board.reports() == [Report(pid=worker.pid, serving=3)]
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert board.reports() == []
    assert list(tmp_path.iterdir()) == []


def test_a_worker_without_a_report_counts(tmp_path: Path) -> None:
    """It has registered, and may have read the agenda already: nothing goes on without it."""
    member = Membership(tmp_path)
    assert Board(tmp_path).reports() == [Report(pid=os.getpid())]
    member.close()
    assert Board(tmp_path).reports() == []
    again = Membership(tmp_path)  # the same process id once more
    assert len(Board(tmp_path).reports()) == 1
    again.close()


def test_an_agenda_is_read_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    seen = board.changed(None)
    assert seen is None
    for number in range(1, 20):
        plan = Plan(number=number, models={"mine": Rollout(version=str(number))})
        board.publish(Agenda(serving=plan))
        text = board.changed(seen)
        assert text is not None
        assert Agenda.model_validate_json(text).serving == plan
        assert board.changed(text) is None
        seen = text
