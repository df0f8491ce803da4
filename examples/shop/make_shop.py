"""The example shop: products, queries and graded judgements, drawn from shop.toml by rule.

    python examples/shop/make_shop.py [--out DIR]

Standard library only, and the same bytes on every run, machine and Python from 3.11 on: of the
random module it uses Random.random() alone, the one method whose sequence Python promises to keep.

How relevance is graded; a query asks for one kind of product (or a group of kinds) and, beyond
that, for a brand, key attributes (size, capacity, gender, material, fit, ...), a colour or a
feature, or none of them:

    3  the right kind, with everything that was asked for
    2  the right kind, brand and key attributes; the colour is another shade of the one asked for
       (navy for blue), or a feature asked for (breathable, foldable) is not stated
    1  the right kind, but another brand, another key attribute or another colour
    0  another kind: an accessory, a sibling, something that comes with such accessories, the rest

So relevance >= 2 (relevant) means: right kind, brand, key attributes and family of colour. Every
title states its brand, its key attributes and, where the kind has colours, its colour. A phone
accessory's phone model is a key attribute; the phone's brand is not the accessory's brand.
"""

import argparse
import csv
import hashlib
import io
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
Row = tuple[str, ...]

PRODUCT_SEED, JUDGEMENT_SEED = 11, 13
# The seed, of those tried, by which most words of test and validation queries, in other
# combinations, also occur in training queries.
QUERY_SEED = 772
MOST_RIGHT, WRONG, NEAR, FAR, LEAST_JUDGED = 24, 12, 13, 7, 40
NAMES = {"en": "ask", "zh": "ask_zh", "mixed": "ask_zh"}  # where shop.toml has a query's names
LEAST_RELEVANT = 4  # a query with fewer relevant products is drawn again
SPLITS = ("train", "valid", "test")


class Dice:
    """Draws by Random.random() alone, so that they are the same in every Python."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def below(self, n: int) -> int:
        return int(self._random.random() * n)

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        out = list(items)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out


@dataclass(frozen=True)
class Product:
    product_id: str
    kind: str
    brand: str
    colour: str
    values: tuple[str, ...]
    features: tuple[str, ...]
    title: str
    price: str
    sales: int


@dataclass(frozen=True)
class Query:
    """What a query asks for; "" and () where it does not ask."""

    text: str
    kinds: tuple[str, ...]
    brand: str = ""
    colour: str = ""
    values: tuple[str, ...] = ()
    feature: str = ""


class Shop:
    """shop.toml, and the words in which titles and queries name its things."""

    def __init__(self, path: Path) -> None:
        data = tomllib.loads(path.read_text("utf-8"))
        self.kinds: dict[str, dict[str, Any]] = data["kinds"]
        self.groups: dict[str, dict[str, Any]] = data["groups"]
        self.values: dict[str, dict[str, Any]] = data["values"]
        self.colours: dict[str, dict[str, str]] = data["colours"]
        self.brands: dict[str, str] = data["brands"]
        self.features: dict[str, str] = data["features"]
        self.confusable: dict[str, set[str]] = {name: set() for name in self.kinds}
        for name, kind in self.kinds.items():
            for other in kind["confused_with"]:
                self.confusable[name].add(other)
                self.confusable[other].add(name)

    def family(self, colour: str) -> str:
        return self.colours[colour]["family"] if colour else ""

    def brand_zh(self, brand: str) -> str:
        return self.brands[brand] or brand

    def value_title(self, kind: str, value: str, language: str) -> str:
        word = str(self.values[value]["zh"]) if language == "zh" else value
        maker = self.values[value].get("brand", "")
        if not maker or "fits" not in self.kinds[kind]:
            return word
        return f"适用{self.brand_zh(maker)} {word}" if language == "zh" else f"for {maker} {word}"

    def value_words(self, value: str, language: str) -> list[str]:
        entry = self.values[value]
        if language == "zh":
            return list(entry.get("ask_zh", [entry["zh"]]))
        words = list(entry.get("ask", [value.lower()]))
        return [*words, f"{entry['brand'].lower()} {words[0]}"] if "brand" in entry else words


def grade(shop: Shop, query: Query, product: Product) -> int:
    """Relevance by the rules at the top of this file."""
    if product.kind not in query.kinds:
        return 0
    if query.brand and product.brand != query.brand:
        return 1
    if not set(query.values) <= set(product.values):
        return 1
    if query.colour and shop.family(product.colour) != shop.family(query.colour):
        return 1
    exact = query.colour in ("", product.colour)
    return 3 if exact and (not query.feature or query.feature in product.features) else 2


def english_title(shop: Shop, dice: Dice, product: Product, model: str) -> str:
    kind = shop.kinds[product.kind]
    before: list[str] = []
    after: list[str] = []
    for value in product.values:
        word = shop.value_title(product.kind, value, "en")
        goes_after = word.startswith(("for ", "Size ")) or dice.chance(50)
        (after if goes_after else before).append(word)
    if product.colour:
        (before if dice.chance(35) else after).append(product.colour)
    after = dice.shuffled(after) + list(product.features)
    if "extra" in kind and dice.chance(15):
        after.append(kind["extra"][0])
    head = [product.brand, *([model] if model else []), *before, dice.pick(kind["en"])]
    separator = dice.pick([" ", " ", ", ", " - "])
    return " ".join(head) + (separator + " ".join(after) if after else "")


def chinese_title(shop: Shop, dice: Dice, product: Product, model: str) -> str:
    kind = shop.kinds[product.kind]
    words = [shop.value_title(product.kind, value, "zh") for value in product.values]
    words += [shop.features[feature] for feature in product.features]
    if product.colour:
        words.append(shop.colours[product.colour]["zh"])
    words = dice.shuffled(words)
    before = words[: dice.below(3)]
    after = words[len(before) :] + ([model] if model else [])
    if "extra" in kind and dice.chance(15):
        after.append(kind["extra"][1])
    joined = (" " if dice.chance(50) else "").join([*before, dice.pick(kind["zh"])])
    return " ".join([shop.brand_zh(product.brand), joined, *after])


def mixed_title(shop: Shop, dice: Dice, product: Product, model: str) -> str:
    kind = shop.kinds[product.kind]
    zh = shop.brands[product.brand]
    words = [
        shop.value_title(product.kind, value, dice.pick(["en", "zh"])) for value in product.values
    ]
    if product.colour:
        zh_colour = shop.colours[product.colour]["zh"]
        words.append(dice.pick([zh_colour, zh_colour, product.colour]))
    words += [shop.features[feature] for feature in product.features]
    head = [zh, product.brand] if zh else [product.brand]
    names = [dice.pick(kind["zh"]), dice.pick(kind["en"])]
    return " ".join([*head, *([model] if model else []), *names, *dice.shuffled(words)])


def make_title(shop: Shop, dice: Dice, product: Product) -> str:
    model = ""
    if product.kind != "phone" and dice.chance(50):
        letters = "ABCDEFGHJKLMNPRSTVWY"
        model = f"{dice.pick(letters)}{dice.pick(letters)}-{100 + 10 * dice.below(90)}"
    language = dice.below(100)
    if language < 17:
        return chinese_title(shop, dice, product, model)
    if language < 27:
        return mixed_title(shop, dice, product, model)
    return english_title(shop, dice, product, model)


def make_products(shop: Shop) -> list[Product]:
    """The products of every kind, shuffled; titles are unique."""
    dice = Dice(PRODUCT_SEED)
    drawn: dict[str, Product] = {}
    for name, kind in shop.kinds.items():
        wanted = len(drawn) + kind["count"]
        while len(drawn) < wanted:
            values = tuple(dice.pick(choices) for choices in kind["attributes"])
            makers = [shop.values[value].get("brand", "") for value in values]
            brand = makers[0] if name == "phone" else dice.pick(kind["brands"])
            colour = dice.pick(kind["colours"]) if kind["colours"] else ""
            features = tuple(dice.shuffled(kind["features"])[: dice.pick([0, 0, 1, 1, 2])])
            low, high = kind["price"]
            above = dice.below(high - low + 1) * dice.below(101) // 100  # more cheap than dear
            price = f"{low + above}.{dice.pick(['00', '50', '90', '95', '99'])}"
            sales = 40_000 // (1 + dice.below(4_000))  # few sell much, most sell little
            bare = Product("", name, brand, colour, values, features, "", price, sales)
            title = make_title(shop, dice, bare)
            drawn[title] = replace(bare, title=title)
    shuffled = dice.shuffled(drawn.values())
    return [replace(bare, product_id=f"p{n:04}") for n, bare in enumerate(shuffled, start=1)]


def english_text(shop: Shop, dice: Dice, asked: Query, name: str) -> str:
    before = [asked.brand.lower(), asked.colour.lower(), asked.feature.lower()]
    after: list[str] = []
    for value in asked.values:
        word = dice.pick(shop.value_words(value, "en"))
        (after if word.startswith(("for ", "size ")) else before).append(word)
    words = [word for word in before if word]
    if dice.chance(65):
        return " ".join([*words, name, *after])
    place = dice.below(len(words) + 1)
    words = dice.shuffled(words)
    return " ".join([*words[:place], name, *words[place:], *after])


def chinese_text(shop: Shop, dice: Dice, asked: Query, name: str) -> str:
    words = [dice.pick(shop.value_words(value, "zh")) for value in asked.values]
    if asked.colour:
        words.append(shop.colours[asked.colour]["zh"])
    if asked.feature:
        words.append(shop.features[asked.feature])
    brand = shop.brand_zh(asked.brand).lower() if asked.brand else ""
    if dice.chance(40):
        return " ".join(filter(None, [brand, name, *words]))
    body = ("" if dice.chance(60) else " ").join([*words, name])
    return f"{brand} {body}".strip()


def mixed_text(shop: Shop, dice: Dice, asked: Query, name: str) -> str:
    words = [asked.brand.lower(), name]
    words += [dice.pick(shop.value_words(value, "en")) for value in asked.values]
    if asked.colour:
        words.append(dice.pick([asked.colour.lower(), shop.colours[asked.colour]["zh"]]))
    return " ".join(filter(None, words))


@dataclass(frozen=True)
class Plan:
    """One query to draw: its language, where its name comes from, and what it asks for."""

    language: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    asks: tuple[str, ...] = ()


def kind_plans(number: int, name: str, kind: dict[str, Any]) -> list[Plan]:
    """The queries for one kind; `number` varies them from kind to kind."""
    colour = "colour" if kind["colours"] else "value"
    third = number % 3

    def plan(language: str, *asks: str, names: str = "") -> Plan:
        return Plan(language, tuple(kind[names or NAMES[language]]), (name,), asks)

    plans = [
        plan("en"),
        plan("en", "feature") if number % 4 == 0 else plan("en"),
        plan("en", "value"),
        plan("en" if third else "zh", "brand"),
        plan("zh", *[(), ("value",), (colour,)][third]),
        plan("en", *[("brand", "value"), (colour,), ("brand", colour)][third]),
    ]
    if number % 4 == 1:
        plans.append(plan("mixed", "brand", colour))
    if number % 6 == 2:
        plans.append(plan("en", "value", "value"))
    if "misspelt" in kind:
        plans.append(plan("en", *["value"] * (number % 2), names="misspelt"))
    return plans


def group_plans(group: dict[str, Any]) -> list[Plan]:
    kinds = tuple(group["kinds"])
    return [
        *[Plan("en", (name,), kinds) for name in group["ask"]],
        Plan("zh", tuple(group["ask_zh"]), kinds),
    ]


def make_query(shop: Shop, dice: Dice, plan: Plan, like: Product) -> Query:
    """A query by this plan that the product `like` answers in full."""
    values = dice.shuffled(like.values)[: plan.asks.count("value")]
    brand = like.brand if "brand" in plan.asks else ""
    if brand and like.kind == "phone":
        values = []  # the model would say the brand again
    colour = like.colour if "colour" in plan.asks else ""
    feature = dice.pick(shop.kinds[like.kind]["features"]) if "feature" in plan.asks else ""
    asked = Query("", plan.kinds, brand, colour, tuple(values), feature)
    write = {"en": english_text, "zh": chinese_text, "mixed": mixed_text}[plan.language]
    return replace(asked, text=write(shop, dice, asked, dice.pick(plan.names)))


def make_queries(shop: Shop, products: list[Product]) -> list[Query]:
    """Queries for every kind and group, shuffled; unique after normalisation."""
    dice = Dice(QUERY_SEED)
    plans = [
        plan
        for number, (name, kind) in enumerate(shop.kinds.items())
        for plan in kind_plans(number, name, kind)
    ]
    plans += [plan for group in shop.groups.values() for plan in group_plans(group)]
    drawn: dict[str, Query] = {}
    for plan in plans:
        stock = [product for product in products if product.kind in plan.kinds]
        while True:
            query = make_query(shop, dice, plan, dice.pick(stock))
            relevant = sum(grade(shop, query, product) >= 2 for product in stock)
            if relevant >= LEAST_RELEVANT and normalised(query.text) not in drawn:
                break
        drawn[normalised(query.text)] = query
    return dice.shuffled(drawn.values())


def judged(
    shop: Shop, dice: Dice, query: Query, products: list[Product]
) -> list[tuple[Product, int]]:
    """Products to judge with their grades: right ones, hard negatives, some others."""
    graded = [(product, grade(shop, query, product)) for product in dice.shuffled(products)]
    near_kinds = set().union(*(shop.confusable[kind] for kind in query.kinds))

    def unlikeness(item: tuple[Product, int]) -> int:
        product = item[0]
        shared = set(query.values) & set(product.values)
        same_colour = product.colour == query.colour != ""
        return -(len(shared) + 2 * (product.brand == query.brand) + same_colour)

    right = [item for item in graded if item[1] >= 2][:MOST_RIGHT]
    wrong = [item for item in graded if item[1] == 1]
    near = [item for item in graded if item[1] == 0 and item[0].kind in near_kinds]
    # Half of the near ones are those that share most with the query, half are drawn blindly.
    near = list(dict.fromkeys(sorted(near, key=unlikeness)[: NEAR // 2] + near))
    far = [item for item in graded if item[1] == 0 and item[0].kind not in near_kinds][:FAR]
    missing = max(0, LEAST_JUDGED - len(right) - min(WRONG, len(wrong)) - NEAR - FAR)
    return dice.shuffled(right + wrong[: WRONG + missing] + near[:NEAR] + far)


def normalised(query: str) -> str:
    return " ".join(query.lower().split())


def split_of(query: str) -> str:
    """Which split a query's judgements belong to; no query is in two."""
    digest = hashlib.sha1(f"split-v1:{normalised(query)}".encode(), usedforsecurity=False)
    bucket = int(digest.hexdigest(), 16) % 100
    return "test" if bucket < 15 else "valid" if bucket < 25 else "train"


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_bytes(text.getvalue().encode())


def make_shop(out: Path) -> None:
    """Writes products.csv, queries.csv and judgments.{train,valid,test}.csv into a folder."""
    shop = Shop(Path(__file__).with_name("shop.toml"))
    products = make_products(shop)
    queries = make_queries(shop, products)
    product_rows: list[Row] = [("product_id", "title", "brand", "category", "price", "sales")]
    for p in products:
        category = shop.kinds[p.kind]["category"]
        product_rows.append((p.product_id, p.title, p.brand, category, p.price, str(p.sales)))
    query_rows: list[Row] = [("query_id", "query")]
    header: Row = ("query_id", "query", "product_id", "relevance")
    judgements = {split: [header] for split in SPLITS}
    dice = Dice(JUDGEMENT_SEED)
    for n, query in enumerate(queries, start=1):
        query_id = f"q{n:03}"
        query_rows.append((query_id, query.text))
        judgements[split_of(query.text)] += [
            (query_id, query.text, product.product_id, str(relevance))
            for product, relevance in judged(shop, dice, query, products)
        ]
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "products.csv", product_rows)
    write_csv(out / "queries.csv", query_rows)
    for split, rows in judgements.items():
        write_csv(out / f"judgments.{split}.csv", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the example shop's files.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    make_shop(parser.parse_args().out)
