"""Which classes are proposed for a product, by whom, and what the boosters look at."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lib.output.report.blocks import Block, Chart, Section, Table, missing, percent
from lib.output.report.charts import SERIES, WIDTH, draw
from lib.output.report.sections.scores import chart_height

NUM_COLUMNS, NUM_LISTED = 20, 10  # drawn, and listed for each booster
PROPOSERS = {
    "recall_networks": "networks",
    "recall_hash": "equal pictures",
    "recall_phash": "similar pictures",
    "recall_neighbors": "nearest images",
    "recall_ids": "nearest ids",
    "recall_attributes": "brands and the like",
    "recall_texts": "texts, without an image",
    "recall_without_cap": "all together",
    "recall": "the candidates",
}


def recall_section(facts: Mapping[str, Mapping[str, float]]) -> Section:
    """Recall of each proposer alone and of all together.

    facts: by the origin of a part, what the manifest of its candidate rows says.
    """
    lead = (
        "How many products have their class among the candidates: by each proposer alone, by all"
        " together, and after the cap on candidates. No later step can be better than the last."
    )
    keys = [key for key in next(iter(facts.values())) if key.startswith("recall")]
    keys.sort(key=lambda key: (key == "recall", key == "recall_without_cap"))
    rows = [
        [
            PROPOSERS.get(key, key.removeprefix("recall_")),
            *(percent(f[key]) for f in facts.values()),
        ]
        for key in keys
    ]
    rows.append(["rows per product", *(f"{f['rows_per_product']:.1f}" for f in facts.values())])
    header = ["proposer", *facts]
    return Section(
        "recall", "Candidates", lead, [Table("Candidate recall", header, rows, "both parts")]
    )


def importances_section(importances: Mapping[str, Mapping[str, float]]) -> Section:
    """What the boosters look at.

    importances: by booster, as in "mean/l2/xgboost", the share of the gain of each column.
    """
    lead = (
        "Share of the gain that the splits on a column bring, a mean over the fold models. Columns"
        " that say the same share what one of them would have alone."
    )
    title, lowest = "Importances", {n: i for n, i in importances.items() if "/l2/" in n and i}
    if not lowest:
        return Section("importances", title, lead, missing("No booster here has importances."))
    mean: dict[str, float] = {}
    for shares in lowest.values():
        for column, share in shares.items():
            mean[column] = mean.get(column, 0.0) + share / len(lowest)
    top = sorted(mean.items(), key=lambda item: -item[1])[:NUM_COLUMNS]
    chart = draw(
        "importances",
        "share of the gain of the most important columns",
        lambda axes: _paint(axes, top),
        WIDTH,
        chart_height(len(top)),
    )
    caption = f"The first {len(top)} of {len(mean)} columns, mean over {len(lowest)} l2 boosters."
    rows = [
        [name, ", ".join(f"{c} {100 * s:.0f} %" for c, s in list(shares.items())[:NUM_LISTED])]
        for name, shares in importances.items()
    ]
    header = ["booster", "columns"]
    blocks: list[Block] = [
        Chart(chart, caption, "out-of-fold models", wide=True),
        Table("Every booster", header, rows, "out-of-fold models", num_text=2, folded=True),
    ]
    return Section("importances", title, lead, blocks)


def _paint(axes: Axes, top: list[tuple[str, float]]) -> None:
    y = np.arange(len(top))
    axes.barh(y, [share for _, share in top], 0.65, color=SERIES[0])
    axes.set_yticks(y, [name for name, _ in top], size=9)
    axes.set_ylim(len(top) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the gain")
