"""The online half: ids in, scores out. Read `service/scoring.py` first."""
