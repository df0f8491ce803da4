"""Damaged bodies of the binary extension: an answer that is documented, and the service lives."""

import json
import random
from collections import Counter

from tests.fuzz.conftest import MODEL, SEED, Fuzz
from tests.fuzz.mutations import mutated, reshaped
from tests.service.conftest import Service
from tests.service.test_inference_body import request

DOCUMENTED = {200, 400, 413, 422, 429, 504}
PATH = f"/v2/models/{MODEL}/infer"
HEADER = "Inference-Header-Content-Length"


def test_damaged_inferences(service: Service, product_ids: list[str], fuzz: Fuzz) -> None:
    chance, count = random.Random(SEED + 2), fuzz.share(0.2)
    content, tensors = request("red lamp", product_ids[:20])
    fields = {"id": "a", "parameters": {"timeout": 900_000, "binary_data_output": True}}
    text, raw = json.dumps({**content, **fields}).encode(), b"".join(tensors)
    good = service.client.post(PATH, content=text + raw, headers={HEADER: str(len(text))})
    assert good.status_code == 200, good.text
    came: Counter[str] = Counter()
    for number in range(count):
        head = chance.choice((text, text, reshaped(text, chance), mutated(text, [raw], chance)))
        rest = chance.choice((raw, raw, mutated(raw, [text], chance)))
        length = chance.choice(
            (len(head), len(head), len(text), len(head) + 1, 0, -1, 2**64, "", "1" * 5000, "x")
        )
        answer = service.client.post(PATH, content=head + rest, headers={HEADER: str(length)})
        assert answer.status_code in DOCUMENTED, (number, head[:500], rest[:500], answer.text)
        if answer.status_code != 200:
            assert answer.json()["error"]
        came[str(answer.status_code)] += 1
    again = service.client.post(PATH, content=text + raw, headers={HEADER: str(len(text))})
    assert _tensors(again.content) == _tensors(good.content)
    fuzz.tell("inferences", count, dict(came))
    assert came["200"] > 0
    assert came["422"] > count // 10


def _tensors(answer: bytes) -> bytes:
    """Scores, raw scores (4 bytes each) and found (1 byte) of the 20 candidates."""
    return answer[-20 * (4 + 4 + 1) :]
