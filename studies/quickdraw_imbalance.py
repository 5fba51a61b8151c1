"""What a rare category loses, and what gives it back (Q6, the report's Figure 9).

    python -m studies.quickdraw_imbalance
    python -m studies.quickdraw_imbalance --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set name=quickdraw_large --majority shoe --minority spoon

All drawings of one category against fewer and fewer of another; asked about locked drawings, as
many of the one as of the other. Beside the plain network what is meant to help: altered drawings,
the rare ones drawn more often, a loss that looks at what is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.model import Augment, Loss, Model, Sampling
from lib.config.schema import Config
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from studies import cells, pages
from studies.cells import Cell, Known, Outcome

SHARES = (0.002, 0.02, 0.1, 0.2, 0.5, 1.0)
LEAST = 2  # drawings of the rare category that a share must leave
REPORT = {0.002: 43, 0.02: 81, 0.1: 88, 0.2: 94, 0.5: 95, 1.0: 98}  # % right of the rare
ALTERED = Augment(min_area=0.7, max_rotation=12.0)
PLAIN = "plain"
REMEDIES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "altered": {"augment": ALTERED, "flip": True},
    "balanced": {"sampling": Sampling(class_balance=1.0)},
    "focal": {"loss": Loss(label_smoothing=0.0, focal_gamma=2.0)},
    "balanced and altered": {
        "sampling": Sampling(class_balance=1.0),
        "augment": ALTERED,
        "flip": True,
    },
}


def study(arguments: argparse.Namespace, config: Config, known: Known) -> None:
    pair = [known.named(arguments.majority), known.named(arguments.minority)]
    plain = replace(cells.model_of(config, arguments.model), epochs=arguments.epochs)
    least = min(len(known.of(known.fit, [one])) for one in pair)
    shares = [share for share in SHARES if round(share * least) >= LEAST]
    asked = [
        _cell(known, plain, pair, least, share, remedy, seed)
        for seed in range(arguments.seeds)
        for share in shares
        for remedy in REMEDIES
    ]
    found = cells.compute(config, asked)
    rows = lines(asked, found, shares, least)
    out = Path(arguments.out)
    name = f"imbalance_{config.name}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows, arguments)
    text = section(config, rows, least, len(asked[0].test) // 2, arguments)
    pages.put(out / "quickdraw.md", name.replace("_", " "), f"{text}![](quickdraw/{name}.png)")
    print(text)


def _cell(
    known: Known, plain: Model, pair: list[int], least: int, share: float, remedy: str, seed: int
) -> Cell:
    major = known.some(known.fit, pair[:1], least, seed)
    minor = known.some(known.fit, pair[1:], round(share * least), seed)
    asked = min(len(known.of(known.locked, [one])) for one in pair)
    return Cell(
        _name(share, remedy),
        replace(plain, **REMEDIES[remedy]),
        np.sort(np.concatenate([major, minor])),
        known.some(known.locked, pair, asked, 0),
        known.numbered(pair),
        len(pair),
        seed,
    )


def _name(share: float, remedy: str) -> str:
    return f"imbalance-{share:g}-{remedy.replace(' ', '-')}"


def lines(
    asked: Sequence[Cell], found: Sequence[Outcome], shares: Sequence[float], least: int
) -> list[dict[str, Any]]:
    """A row for each share and remedy: accuracies in all, of the common and of the rare."""
    rows = []
    for share in shares:
        plain = _right(asked, found, _name(share, PLAIN))
        for remedy in REMEDIES:
            right, rare, product = _right(asked, found, _name(share, remedy))
            row: dict[str, Any] = {
                "share": share,
                "common": least,
                "rare": round(share * least),
                "remedy": remedy,
                **pages.flat("all", accuracy(right, group=product)),
                **pages.flat("common_right", accuracy(right[~rare], group=product[~rare])),
                **pages.flat("rare_right", accuracy(right[rare], group=product[rare])),
                **pages.flat("gain", gain(right, plain[0], group=product)),
                **pages.flat("rare_gain", gain(right[rare], plain[0][rare], group=product[rare])),
            }
            rows.append(row)
    return rows


def _right(
    asked: Sequence[Cell], found: Sequence[Outcome], name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all seeds, one after the other: bool right, bool rare, int64 which drawing it is."""
    runs = [(c, o) for c, o in zip(asked, found, strict=True) if c.name == name]
    right = np.concatenate([o.right(c) for c, o in runs])
    rare = np.concatenate([c.labels[c.test] == 1 for c, _ in runs])
    return right, rare, np.concatenate([np.arange(len(c.test)) for c, _ in runs])


def section(
    config: Config,
    rows: Sequence[dict[str, Any]],
    least: int,
    asked: int,
    arguments: argparse.Namespace,
) -> str:
    shown = []
    for row in rows:
        plain = row["remedy"] == PLAIN
        shown.append(
            [
                row["rare"] if plain else "",
                row["remedy"],
                pages.percent(pages.estimate(row, "all")),
                pages.percent(pages.estimate(row, "common_right")),
                pages.percent(pages.estimate(row, "rare_right")),
                "" if plain else pages.points(pages.estimate(row, "rare_gain")),
                "" if plain else pages.points(pages.estimate(row, "gain")),
                REPORT.get(row["share"], "") if plain else "",
            ]
        )
    header = ["rare ones", "", "right in all", "of the common", "of the rare", "gain, rare"]
    header += ["gain in all", "report, of the rare"]
    return (
        f"### A rare category: {config.name}\n\n"
        f"{least:,} drawings of {arguments.majority} to learn from, and fewer and fewer of"
        f" {arguments.minority} (the report: 50,000 of fork, and 100 to 50,000 of hammer);"
        f" asked about {asked:,} locked ones of each. `{arguments.model}`, {arguments.epochs}"
        f" epochs, {arguments.seeds} seeds. Gains are against the plain network.\n\n"
        f"{table(header, shown)}\n\n"
    )


def _draw(path: Path, rows: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> None:
    made, axes = pages.figure()
    for remedy, colour in zip(REMEDIES, pages.COLOURS, strict=False):
        some = [row for row in rows if row["remedy"] == remedy]
        counts = [row["rare"] for row in some]
        axes.plot(
            counts, [100 * row["rare_right"] for row in some], "o-", color=colour, label=remedy
        )
        common = [100 * row["common_right"] for row in some]
        axes.plot(counts, common, ":", color=colour)
    pages.counted(axes, sorted({row["rare"] for row in rows}))
    axes.set_xlabel(f"drawings of {arguments.minority} to learn from")
    axes.set_ylabel(f"% right of {arguments.minority} (dotted: of {arguments.majority})")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    pages.save(made, path)


def main() -> int:
    parser = cells.parser("A rare category and remedies (Figure 9).", "quickdraw_imbalance")
    parser.add_argument("--majority", default="fork", help="(%(default)s)")
    parser.add_argument("--minority", default="hammer", help="(%(default)s)")
    cells.of_one_model(parser)
    arguments = parser.parse_args()
    return cells.run(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
