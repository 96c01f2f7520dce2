"""Items that belong together because a chain of pairs says so (union-find)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item", int, str)


class Clusters(Generic[Item]):
    """A partition of the items, at first each alone; the name of a cluster is its least item."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._parents: dict[Item, Item] = {item: item for item in items}

    def name(self, item: Item) -> Item:
        parents = self._parents
        while parents[item] != item:
            parents[item] = item = parents[parents[item]]  # halves the path for those who ask next
        return item

    def join(self, one: Item, other: Item) -> None:
        least, greater = sorted((self.name(one), self.name(other)))
        self._parents[greater] = least

    def members(self) -> dict[Item, list[Item]]:
        """Name of each cluster -> its items, in the order in which they came."""
        clusters: dict[Item, list[Item]] = {}
        for item in self._parents:
            clusters.setdefault(self.name(item), []).append(item)
        return clusters
