"""A shop of two dozen words, and a recipe that distils students from it in seconds."""

import csv
from pathlib import Path

import numpy as np

_KINDS = ("lamp", "chair", "hammer", "kettle", "椅子", "台灯")
_COLOURS = ("red", "blue", "green", "white", "black")
_EXTRA = ("small", "large", "steel", "wooden", "new", "home", "garden", "light", "2", "3")
_STEPS = np.arange(15) * 4 % 15  # all of them, in an order that mixes colours and other words
_WORTH = dict(zip((*_COLOURS, *_EXTRA), np.linspace(-2.0, 2.0, 15)[_STEPS], strict=True))

# A teacher from scratch, two students, and everything that hangs on them.
RECIPE = """
name = "tiny"
seed = 3

[data]
judgments = "judgments.csv"
products = "products.csv"
relevant_from = 2.0
targets = { 3 = 0.95, 2 = 0.8, 1 = 0.2, 0 = 0.05 }

[[encoder]]
name = "small"
layers = 1
width = 32
heads = 2
feed_forward = 64
positions = 32
vocabulary = 200

[[teacher]]
name = "cross"
encoder = "new:small"
epochs = 6
learning_rate = 2e-3
head_learning_rate = 2e-3
pooling = "mean"
save_every = 5

[transfer]
pairs_per_query = 12
pairs_per_made_query = 6
pseudo_queries = 500

[wide]
pairs_per_query = 12
pairs_per_made_query = 6
pseudo_queries = 600

[labels]
scorer = "float32"

[[student]]
name = "bag"
kind = "bert2dnn"
epochs = 2
learning_rate = 3e-3
save_minutes = 0.0
labels_alone = { epochs = 4 }

[[student]]
name = "repr"
kind = "reprbert"
encoder = "teacher:cross"
layers = 1
epochs = 2
learning_rate = 3e-3
encoder_learning_rate = 1e-3
fine_tune = { epochs = 1, learning_rate = 5e-4 }

[[student]]
name = "bag-warm"
like = "bag"
temperature = 2.0
publish = false

[[student]]
name = "bag-assisted"
like = "bag"
labels = ["repr", "cross"]
publish = false

[report]
resamples = 100
"""


def write_tiny(folder: Path, recipe: str = RECIPE) -> Path:
    """Products, judgements and the recipe in a folder; the recipe's path.

    Grades say more of the title than of the query, which a small network learns in seconds: 3 or 2
    where what its words are worth and some noise come to more than 0, else 1 or 0, the higher one
    where kinds are the same. Titles are good by degrees, so that scores are spread: in a heap of
    nearly equal ones the last bits of a score would decide its rank.
    """
    random = np.random.default_rng(1)
    products = []
    for number in range(240):
        kind, colour = (str(random.choice(words)) for words in (_KINDS, _COLOURS))
        extra = [str(word) for word in random.choice(_EXTRA, size=2, replace=False)]
        products.append((f"p{number}", kind, " ".join([colour, *extra, kind])))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["product_id", "title"])
        rows.writerows((product_id, title) for product_id, _, title in products)
    with (folder / "judgments.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "product_id", "relevance"])
        for query, kind in _queries():
            for place in random.choice(len(products), size=10, replace=False):
                product_id, product_kind, title = products[place]
                worth = sum(_WORTH.get(word, 0.0) for word in title.split())
                good = worth + random.logistic(scale=0.5) > 0.0
                rows.writerow([query, product_id, 2 * good + (kind == product_kind)])
    path = folder / "tiny.toml"
    path.write_text(recipe, encoding="utf-8")
    return path


def _queries() -> list[tuple[str, str]]:
    """Each kind and colour with five other words: query, kind."""
    return [
        (f"{colour} {kind} {extra}", kind)
        for kind in _KINDS
        for colour in _COLOURS
        for extra in _EXTRA[3:8]
    ]
