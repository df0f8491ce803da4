"""A synthetic catalogue of any size, and queries for it; the same bytes for the same seed.

    python -m loadtest.catalogue --products 200000 --out products.csv \
        --queries-out queries.txt --queries 5000

Titles of 4 to 12 words in the words of `examples/shop`, prices and sales with the long tails that a
shop has. Only for load: nothing here is graded, and no student learns from it.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

BLOCK = 10_000  # products drawn at once


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(" / " if "/" in text else " "))


BRANDS = _words(
    "Shansun Zephano Wenhe Tongyuan Zhenmu Northpeak Lumora Kestrel Brightwell Havenly Orvane "
    "Tidewater Maplewood Quillon Fernway Solara Ridgeline Copperfox Bluefin Oakhart Velora Nimbus "
    "Stonebridge Aurelis Pinecrest Halcyon Driftwood Emberly Foxglove Granite"
)
ADJECTIVES = _words(
    "Lightweight Foldable Wireless Rechargeable Adjustable Portable Breathable Thermal Compact "
    "Professional Vintage Modern Insulated Ergonomic Quilted Striped Heated Magnetic Organic Smart"
)
COLOURS = _words(
    "Black White Grey Navy Blue Red Green Olive Beige Brown Pink Purple Orange Yellow Teal Silver "
    "Gold Burgundy Khaki Turquoise"
)
MATERIALS = _words(
    "Cotton Leather Linen Wool Bamboo Steel Aluminium Ceramic Glass Silicone Oak Nylon Denim Fleece"
)
NOUNS = _words(
    "Running Shoes / Hiking Boots / Rain Jacket / Winter Coat / Polo Shirt / Yoga Mat / "
    "Exercise Mat / Desk Lamp / Floor Lamp / Coffee Grinder / Bean Grinder / Frying Pan / "
    "Chef Knife / Water Bottle / Lunch Box / Laptop Bag / Travel Backpack / Phone Case / "
    "Screen Protector / Power Bank / Charging Cable / Bluetooth Speaker / Over-Ear Headphones / "
    "Gaming Mouse / Mechanical Keyboard / Monitor Stand / Office Chair / Book Shelf / Bed Frame / "
    "Duvet Cover / Bath Towels / Shower Curtain / Storage Basket / Garden Hose / Pruning Shears / "
    "Camping Tent / Sleeping Bag / Fishing Rod / Bicycle Helmet / Car Charger / Dog Bed / "
    "Cat Tree / Building Blocks / Board Game / Baby Blanket / Face Cream / Hair Dryer / "
    "Electric Toothbrush / Kitchen Scale / Wall Clock"
)
AUDIENCES = _words("Men's Women's Kids' Home Travel Office")
SIZES = _words(
    "Small / Medium / Large / Size 38 / Size 42 / 500 ml / 1 Litre / 2 Person / 4 Pieces / "
    "2 Pack / 10000mAh / 27 Inch"
)
FEATURES = _words("Zip Pocket / Carry Bag / Easy Clean / Non Slip / Waterproof / Breathable")

# Parts of a title in their order, and how often a title has each of them.
_PARTS = (
    (BRANDS, 1.0),
    (ADJECTIVES, 0.6),
    (COLOURS, 0.7),
    (MATERIALS, 0.4),
    (AUDIENCES, 0.3),
    (NOUNS, 1.0),
    (SIZES, 0.6),
    (FEATURES, 0.3),
)
# A query is a noun with at most one word of each kind before it; "" where it has none.
_ASKED = (("", *BRANDS), ("", *ADJECTIVES), ("", *COLOURS), ("", *AUDIENCES), NOUNS)


def products(count: int, seed: int) -> Iterator[tuple[str, str, str, str]]:
    """(product_id, title, price, sales), streaming."""
    draw = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        titles = _titles(draw, n)
        prices = np.exp(draw.normal(3.2, 0.9, n)).clip(0.5, 5_000)
        sales = (draw.pareto(1.1, n) * 5).clip(max=1_000_000).astype(np.int64)
        for offset in range(n):
            number = start + offset + 1
            yield (
                f"p{number:07}",
                f"{titles[offset]} M{number % 9_973}",
                f"{prices[offset]:.2f}",
                str(sales[offset]),
            )


def queries(count: int, seed: int) -> list[str]:
    """Lower-case queries of 2 to 6 words, each once.

    Raises:
        ValueError: more than the word lists can make.
    """
    sizes = [len(words) for words in _ASKED]
    possible = int(np.prod(sizes))
    if not 0 < count <= possible:
        raise ValueError(f"expected 1 to {possible} queries, got {count}")
    numbers = np.random.default_rng(seed).choice(possible, count, replace=False)
    choices = zip(*np.unravel_index(numbers, sizes), strict=True)
    return [
        " ".join(words[i] for words, i in zip(_ASKED, chosen, strict=True) if words[i]).lower()
        for chosen in choices
    ]


def write_catalogue(path: Path, count: int, seed: int) -> None:
    """A CSV file of `products`; a stopped run leaves none that looks whole."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "title", "price", "sales"))
        rows = products(count, seed)
        for start in track(range(0, count, BLOCK), f"{path.name}", console=Console(stderr=True)):
            writer.writerows(next(rows) for _ in range(min(BLOCK, count - start)))
    unfinished.replace(path)


def _titles(draw: np.random.Generator, n: int) -> list[str]:
    columns = []
    for words, share in _PARTS:
        # Squared: the first words of a list are the frequent ones, as in a real catalogue.
        chosen = (draw.random(n) ** 2 * len(words)).astype(np.int64).tolist()
        present = (draw.random(n) < share).tolist()
        columns.append([words[i] if p else "" for i, p in zip(chosen, present, strict=True)])
    return [" ".join(filter(None, parts)) for parts in zip(*columns, strict=True)]


def main() -> None:
    """Writes the catalogue and, where asked for, queries."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--products", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="CSV file of the catalogue")
    parser.add_argument("--queries-out", type=Path, help="text file, one query per line")
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    write_catalogue(options.out, options.products, options.seed)
    if options.queries_out:
        text = "\n".join(queries(options.queries, options.seed))
        options.queries_out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
