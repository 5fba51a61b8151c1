"""Names of classes for readers: short ones where they are clear, and the whole path."""

from collections import Counter

from lib.data.catalog import Categories


class ClassNames:
    """The names of the classes of a catalog; a catalog without names has numbers."""

    def __init__(self, categories: Categories) -> None:
        keys = [categories.key(class_id) for class_id in range(len(categories))]
        paths = [list(dict.fromkeys(level for level in path if level)) for path in categories.names]
        self.keys = keys
        self.paths = [" > ".join(path) or key for path, key in zip(paths, keys, strict=True)]
        leaves = [path[-1] if path else key for path, key in zip(paths, keys, strict=True)]
        count = Counter(leaves)
        self.short = [
            leaf if count[leaf] == 1 else f"{leaf} ({key})"
            for leaf, key in zip(leaves, keys, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.keys)
