"""Which files hold the annotations of a side, and the images that they name."""

from dataclasses import dataclass
from pathlib import Path

BOX_TABLES, LABEL_TABLES = "*annotations-bbox.csv", "*annotations-human-imagelabels*.csv"


@dataclass(frozen=True)
class AnnotationFiles:
    """The tables of a side, and the folder of its images; names there are relative to it.

    scenes: the folder of composed scenes, which have tables and images of their own; None without.
    """

    box_tables: list[Path]
    label_tables: list[Path]
    image_root: Path
    scenes: Path | None = None

    @property
    def tables(self) -> list[Path]:
        """All tables of the user."""
        return [*self.box_tables, *self.label_tables]

    def with_scenes(self) -> tuple[list[Path], list[Path]]:
        """The tables of boxes and of labels, those of the scenes included."""
        boxes, labels = find_tables(self.scenes) if self.scenes else ([], [])
        return [*self.box_tables, *boxes], [*self.label_tables, *labels]


def find_tables(path: Path) -> tuple[list[Path], list[Path]]:
    """The tables of boxes and of labels that a file, or a folder of tables, stands for.

    The labels of a table lie beside it, with the same beginning of the name (its split).
    """
    if not path.is_dir():
        split = path.name.removesuffix(BOX_TABLES[1:])
        labels = path.parent.glob(split + LABEL_TABLES[1:]) if split != path.name else []
        return [path], sorted(labels)
    return sorted(path.glob(BOX_TABLES)), sorted(path.glob(LABEL_TABLES))
