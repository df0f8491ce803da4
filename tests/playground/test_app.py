"""What the playground adds to a service, and that it adds nothing where it is off."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from playground.files import FOLDER
from service.settings import SettingsError, read_settings
from tests.playground.conftest import PICTURED
from tests.service.conftest import SHOP, WINNOW, Service, environment

ROOT = Path(__file__).parents[2]


def test_every_file_is_sent_with_its_rules(service: Service, pictures: str) -> None:
    origin = pictures.rpartition("/")[0]
    for path in FOLDER.iterdir():
        answer = service.client.get(
            "/" if path.name == "index.html" else f"/playground/{path.name}"
        )
        assert answer.content == path.read_bytes()
        policy = answer.headers["content-security-policy"]
        assert policy.startswith(f"default-src 'self'; img-src 'self' data: {origin};")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_the_browser_has_is_not_sent_again(service: Service) -> None:
    first = service.client.get("/playground/page.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = service.client.get(
        "/playground/page.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (httpx.codes.NOT_MODIFIED, b"")
    changed = service.client.get("/playground/page.js", headers={"If-None-Match": '"another"'})
    assert changed.status_code == httpx.codes.OK


@pytest.mark.parametrize("path", ["/playground", "/playground/app.py", "/playground/%2e%2e/app.py"])
def test_nothing_else_is_a_file(service: Service, path: str) -> None:
    assert service.client.get(path).status_code == httpx.codes.NOT_FOUND


def test_candidates_share_a_word_and_have_what_the_catalogue_says(
    service: Service, pictures: str
) -> None:
    asked = {"query": "shampoo", "count": "20"}
    answer = service.client.get("/playground/candidates", params=asked).json()
    products = answer["products"]
    assert len(products) == 20
    assert all("shampoo" in product["title"].lower() for product in products)
    assert {p["product_id"] for p in products if p["image"] == pictures} == set(PICTURED)
    first = next(p for p in products if p["product_id"] == PICTURED[0])
    assert (first["price"], first["sales"], first["grade"]) == (7.9, 43.0, None)


def test_judged_candidates_have_their_grade_however_the_query_is_spelt(service: Service) -> None:
    asked = {"query": " Lightweight  JACKET", "count": "200"}
    products = service.client.get("/playground/candidates", params=asked).json()["products"]
    assert {p["grade"] for p in products} > {None, 3.0}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"count": "5"}, "query: expected"),
        ({"query": " ", "count": "5"}, "query: expected"),
        ({"query": "tent"}, "count: expected a whole number from 1 to 10000"),
        ({"query": "tent", "count": "0"}, "count: expected"),
        ({"query": "tent", "count": "10001"}, "count: expected"),
        ({"query": "tent", "count": "-5"}, "count: expected"),
        ({"query": "tent", "count": "9" * 5000}, "count: expected"),
        ({"query": "t" * 1001, "count": "5"}, "query: expected at most 1000 characters"),
    ],
)
def test_a_question_that_is_no_good_is_told_why(
    service: Service, asked: dict[str, str], said: str
) -> None:
    answer = service.client.get("/playground/candidates", params=asked)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_its_requests_are_observed_and_not_documented(service: Service) -> None:
    service.client.get("/")
    assert 'winnow_request_duration_seconds_count{code="200",endpoint="/"}' in (
        service.client.get("/metrics").text
    )
    assert not [p for p in service.client.get("/openapi.json").json()["paths"] if "play" in p]


def test_a_service_without_it_does_not_load_it(shop_store: str) -> None:
    probe = (
        "import sys, service.app; from service.settings import Settings; "
        f"service.app.create_app(Settings(store={shop_store!r}, models='shop-deepdot')); "
        "print([m for m in sys.modules if m.startswith(('playground', 'evaluation'))])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_judgements_without_a_catalogue_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_STORE", "lmdb:rows")
    monkeypatch.setenv("WINNOW_PLAYGROUND_JUDGMENTS", str(SHOP / "judgments.test.csv"))
    with pytest.raises(SettingsError, match="need playground_catalogue"):
        read_settings()


def test_a_catalogue_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_STORE", "lmdb:rows")
    monkeypatch.setenv("WINNOW_PLAYGROUND_CATALOGUE", "nowhere.csv")
    with pytest.raises(SettingsError, match="WINNOW_PLAYGROUND_CATALOGUE: Path does not point"):
        read_settings()


def test_a_catalogue_that_cannot_be_read_stops_the_start_with_one_line(
    shop_store: str, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("product_id,title,price\np1,Tent,cheap\n")
    settings = {"store": shop_store, "models": "shop-deepdot", "playground_catalogue": str(bad)}
    done = subprocess.run(
        [*WINNOW, "serve"], env=environment(settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "error: bad.csv, line 2: expected a number in 'price', got 'cheap'\n"
