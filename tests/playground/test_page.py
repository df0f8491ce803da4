"""The page in a real browser, held against what the service answers to anybody."""

import csv
from collections import defaultdict

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.playground.conftest import (
    JUDGMENTS,
    PHONE,
    PICTURED,
    STUDENTS,
    Window,
)
from tests.service.conftest import Service

QUERY = "lightweight jacket"  # judged
COUNT = 200


def candidates(service: Service, query: str = QUERY) -> list[dict[str, object]]:
    """What the page takes as the engine's answer."""
    answer = service.client.get("/playground/candidates", params={"query": query, "count": COUNT})
    products: list[dict[str, object]] = answer.json()["products"]
    return products


def ids_of(products: list[dict[str, object]]) -> list[str]:
    return [str(product["product_id"]) for product in products]


def filtered(
    service: Service, threshold: float | None, fields: dict[str, object] | None = None
) -> tuple[list[str], list[str]]:
    """Kept and removed, as `/filter` says."""
    body = {"model": STUDENTS[0], **(fields or {})}
    if threshold is not None:
        body["threshold"] = threshold
    answer = service.filter(QUERY, ids_of(candidates(service)), body).json()
    return answer["kept"], answer["removed"]


def test_a_search_greys_what_filter_removes(window: Window, service: Service) -> None:
    window.open()
    window.search(QUERY)
    kept, removed = filtered(service, None)
    assert window.ids("kept") == kept
    assert window.ids("removed") == removed
    assert removed
    assert window.ids() == ids_of(candidates(service))
    text = f"{len(kept)} of {COUNT} products stay"
    expect(window.page.locator("#summary")).to_contain_text(text)
    # Not by colour alone.
    verdicts = window.page.locator('.card[data-state="removed"] .verdict').all_text_contents()
    assert set(verdicts) == {"Removed"}


@pytest.mark.parametrize("at", [0, 20, 100, 180])
def test_a_threshold_greys_what_filter_removes_at_it(
    window: Window, service: Service, at: int
) -> None:
    """The threshold is a score that occurs: its product is kept, by both."""
    scores = service.score(QUERY, ids_of(candidates(service)), {"model": STUDENTS[0]}).json()
    threshold = sorted(scores["scores"])[at]
    window.open(f"#query={QUERY}")
    window.set_threshold(threshold)
    kept, removed = filtered(service, threshold)
    assert (window.ids("kept"), window.ids("removed")) == (kept, removed)
    assert len(removed) <= at


def test_the_slider_is_live(window: Window) -> None:
    """What it removes is grey before anybody has asked `/filter`."""
    window.open(f"#query={QUERY}")
    before = len(window.ids("removed"))
    window.page.context.set_offline(True)
    slider = window.page.get_by_role("slider")
    slider.focus()
    slider.press("End")
    window.page.wait_for_function("() => !document.querySelector('[data-state=kept]')")
    slider.press("Home")
    window.page.wait_for_function("() => !document.querySelector('[data-state=removed]')")
    assert before
    expect(window.page.get_by_role("alert")).to_be_visible()  # nobody confirms what is shown
    window.complaints.clear()


def test_an_example_is_asked_by_a_click(window: Window) -> None:
    window.open()
    examples = window.page.get_by_role("group", name="Example queries").get_by_role("button")
    text = examples.nth(4).inner_text()
    examples.nth(4).click()
    window.page.wait_for_function(
        "text => document.querySelector('#query').value === text", arg=text
    )
    window.settle()
    assert window.ids()


@pytest.mark.parametrize(
    ("choice", "sort", "column", "order"),
    [
        ("price", "price", "price", "asc"),
        ("price-desc", "price", "price", "desc"),
        ("sale", "sale", "sales", "desc"),
    ],
)
def test_a_sorted_page_is_in_the_order_of_filter(
    window: Window, service: Service, choice: str, sort: str, column: str, order: str
) -> None:
    window.open(f"#query={QUERY}")
    window.page.get_by_label("Result page sorted by").select_option(choice)
    window.settle()
    values = [product[column] for product in candidates(service)]
    fields: dict[str, object] = {"sort": sort, "sort_values": values, "order": order}
    kept, removed = filtered(service, None, fields)
    assert (window.ids("kept"), window.ids("removed")) == (kept, removed)
    places = window.page.locator('.card[data-state="kept"] .place').all_text_contents()
    assert places == [str(place + 1) for place in range(len(kept))]


def test_two_students_and_what_they_disagree_on(window: Window, service: Service) -> None:
    window.open(f"#query={QUERY}")
    window.page.get_by_label("Compared with").select_option(STUDENTS[1])
    expect(window.page.locator(".student")).to_have_count(2)
    window.settle()
    window.page.get_by_role("radio", name="Disagreements").check()
    first = set(filtered(service, None)[0])
    other = set(filtered(service, None, {"model": STUDENTS[1]})[0])
    assert first ^ other
    assert set(window.ids()) == first ^ other
    assert set(window.ids("kept")) == first - other
    heading = window.page.get_by_role("heading", name=f"Only {STUDENTS[1]} keeps")
    expect(heading).to_contain_text(f"({len(other - first)})")
    verdicts = window.page.locator('.card[data-state="removed"] .verdict').all_text_contents()
    assert set(verdicts) <= {"Only B keeps it"}


def test_precision_and_recall_at_a_threshold(window: Window, service: Service) -> None:
    grades: dict[str, int] = {}
    with JUDGMENTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["query"] == QUERY:
                grades[row["product_id"]] = int(row["relevance"])
    window.open(f"#query={QUERY}")
    window.set_threshold(0.5)
    kept = [name for name in filtered(service, 0.5)[0] if name in grades]
    judged = [name for name in ids_of(candidates(service)) if name in grades]
    relevant = [name for name in judged if grades[name] >= 2]
    hits = sum(grades[name] >= 2 for name in kept)
    counted = {"precision": f"{hits} of {len(kept)}", "recall": f"{hits} of {len(relevant)}"}
    assert hits < len(relevant)
    for figure, text in counted.items():
        expect(window.page.locator(f".{figure} small")).to_have_text(text)
    window.page.get_by_role("radio", name="Against judgement").check()
    wrong = {name for name in judged if (grades[name] >= 2) != (name in kept)}
    assert set(window.ids()) == wrong


def test_a_query_that_nobody_judged(window: Window) -> None:
    window.open("#query=red+running+shoes")
    expect(window.page.locator(".judged")).to_have_text("This query is not judged")
    expect(window.page.locator(".precision")).to_have_text("–")
    expect(window.page.get_by_label("Relevant from grade")).to_be_hidden()


def test_a_query_that_nothing_matches(window: Window) -> None:
    window.open()
    window.search("xylophone")
    expect(window.page.get_by_role("alert")).to_have_text(
        "No product shares a word with “xylophone”."
    )
    assert window.ids() == []


def test_with_the_keyboard_alone(window: Window) -> None:
    window.open()
    page, press = window.page, window.page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to the products")).to_be_focused()
    press("/")
    expect(page.get_by_role("combobox", name="Query")).to_be_focused()
    page.keyboard.type(QUERY)
    press("Enter")
    page.wait_for_function("() => location.hash.includes('query=lightweight+jacket')")
    window.settle()
    kept = len(window.ids("kept"))
    for _ in range(40):
        press("Tab")
        if page.evaluate("document.activeElement.className") == "slider":
            break
    for _ in range(3):
        press("PageUp")
    press("ArrowRight")
    window.settle()
    assert len(window.ids("kept")) < kept
    expect(page.get_by_role("status")).to_contain_text(f"keeps {len(window.ids('kept'))} at")
    for _ in range(40):
        press("Tab")
        if page.evaluate("document.activeElement.closest('.card') !== null"):
            break
    title = page.evaluate("document.activeElement.textContent")
    press("Enter")
    expect(page.get_by_role("dialog", name=title)).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == title


def test_the_stages_are_those_of_the_answers(window: Window) -> None:
    window.open(f"#query={QUERY}")
    requests = window.page.locator("#timings li")
    expect(requests).to_have_count(2)
    for request, endpoint in zip(requests.all(), ("/score", "/filter"), strict=True):
        expect(request).to_contain_text(f"POST {endpoint} {STUDENTS[0]}")
        for stage in ("decode", "wait", "query", "head"):
            expect(request).to_contain_text(stage)


def test_the_page_is_used_while_another_student_is_asked(window: Window) -> None:
    window.open(f"#query={QUERY}")
    page, held = window.page, list[Route]()
    page.route("**/score", lambda route: held.append(route), times=1)  # noqa: PLW0108 - a function
    with page.expect_request("**/score"):
        page.get_by_label("Compared with").select_option(STUDENTS[1])
    window.set_threshold(0.999)
    assert len(window.ids("removed")) > len(window.ids("kept"))
    page.locator(".card h3 button").first.click()
    expect(page.locator("#details .score")).to_have_count(1)
    page.keyboard.press("Escape")
    page.get_by_label("Result page sorted by").select_option("price")
    window.settle()
    held[0].continue_()
    expect(page.locator(".student")).to_have_count(2)
    window.settle()
    # What was chosen meanwhile holds for the one that comes, too.
    titles = page.eval_on_selector_all(".reset", "all => all.map(each => each.title)")
    assert ["sorted by price" in title for title in titles] == [True, True]
    expect(page.locator(".card").first.locator(".score")).to_have_count(2)


def test_the_address_brings_the_same_page_back(window: Window) -> None:
    window.open(f"#query={QUERY}")
    window.page.get_by_label("Result page sorted by").select_option("price")
    window.page.get_by_label("Compared with").select_option(STUDENTS[1])
    expect(window.page.locator(".student")).to_have_count(2)
    window.set_threshold(0.4)
    shown = window.ids("kept"), window.ids("removed")
    window.page.reload()
    window.settle()
    assert (window.ids("kept"), window.ids("removed")) == shown
    expect(window.page.get_by_label("Compared with")).to_have_value(STUDENTS[1])
    # The query is in no request line but that of the candidates: a fragment is never sent.
    assert not [url for url in window.asked if "query=" in url and "/candidates?" not in url]


def test_pictures_are_those_of_the_catalogue(window: Window, pictures: str) -> None:
    window.open("#query=shampoo")
    assert window.page.locator(".card .picture:visible").count() == len(PICTURED)
    window.page.wait_for_function(
        """() => [...document.querySelectorAll(".picture:not([hidden]) img")]
        .every((image) => image.complete && image.naturalWidth)"""
    )
    assert pictures in window.asked


def test_why_a_product_has_its_score(window: Window, service: Service) -> None:
    window.open(f"#query={QUERY}")
    first = candidates(service)[0]
    window.page.get_by_role("button", name=str(first["title"]), exact=True).click()
    dialog = window.page.get_by_role("dialog", name=str(first["title"]))
    expect(dialog).to_contain_text(f"Why {STUDENTS[0]} says so")
    asked = {"query": QUERY, "product_id": first["product_id"], "title": first["title"]}
    answer = service.client.post("/explain", json={**asked, "model": STUDENTS[0]})
    assert answer.status_code == httpx.codes.OK
    words = dialog.locator(".tokens").first.locator("li")
    expect(words).to_have_count(2)
    for word, token in zip(words.all(), answer.json()["query_tokens"], strict=True):
        expect(word.locator(".token")).to_have_text(token["token"])
        expect(word.locator(".number")).to_have_text(
            f"{token['contribution']:+.3f}".replace("-", "−")
        )


def test_nothing_scrolls_sideways(window: Window) -> None:
    window.open(f"#query={QUERY}&sort=price&other={STUDENTS[1]}")
    for view in ("All", "Disagreements"):
        window.page.get_by_role("radio", name=view).check()
        for width in (320, PHONE[0], 768, 1280):
            window.page.set_viewport_size({"width": width, "height": PHONE[1]})
            assert window.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_slider_of_a_phone_stays_in_sight(window: Window) -> None:
    window.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    window.open(f"#query={QUERY}")
    window.page.locator(".card").nth(30).scroll_into_view_if_needed()
    expect(window.page.get_by_role("slider")).to_be_in_viewport()


def test_the_theme_is_chosen_and_kept(window: Window) -> None:
    window.open()
    ground = "getComputedStyle(document.body.parentElement).backgroundColor"
    light = window.page.evaluate(ground)
    button = window.page.get_by_role("button", name="Theme:")
    button.click()
    button.click()
    expect(button).to_have_text("Theme: dark")
    dark = window.page.evaluate(ground)
    assert dark != light
    window.page.reload()
    assert window.page.evaluate(ground) == dark
    button.click()
    expect(button).to_have_text("Theme: auto")


def test_judged_queries_are_the_examples(window: Window) -> None:
    judged: dict[str, int] = defaultdict(int)
    with JUDGMENTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            judged[row["query"]] += 1
    window.open()
    offered = window.page.locator("#all-examples option").evaluate_all(
        "options => options.map(option => option.value)"
    )
    assert offered == list(judged)
