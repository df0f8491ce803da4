"""What was made of the texts met last: a title is taken apart once for many queries."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

Made = TypeVar("Made")


class RecentTexts(Generic[Made]):
    """Makes something of texts, each on its own, and keeps it for the calls to come."""

    def __init__(self, make: Callable[[Sequence[str]], Iterable[Made]], most: int) -> None:
        """Keeps `most` texts between calls; what `make` gives of a text depends on it alone."""
        self._make = make
        self._most = most
        self._kept: OrderedDict[str, Made] = OrderedDict()

    def of(self, texts: Iterable[str]) -> dict[str, Made]:
        """What there is of each distinct text, in the order of the texts."""
        distinct = list(dict.fromkeys(texts))
        new = [text for text in distinct if text not in self._kept]
        if new:
            self._kept.update(zip(new, self._make(new), strict=True))
        for text in distinct:
            self._kept.move_to_end(text)
        found = {text: self._kept[text] for text in distinct}
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found
