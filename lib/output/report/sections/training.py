"""Learning curves: loss and accuracy of every network, epoch by epoch."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from lib.output.report.blocks import Block, Chart, Section, Text, missing
from lib.output.report.charts import SERIES, draw, whole_numbers

History = Sequence[Mapping[str, Any]]
MAX_MODELS = 24  # drawn


def training_section(
    histories: Mapping[str, Mapping[str, History]], segmenters: Collection[str] = ()
) -> Section:
    """Learning curves.

    histories: by model, then by network (one for each fold): the lines of its history.jsonl.
    segmenters: models whose accuracy is a mean IoU.
    """
    lead = (
        "Solid lines: products that the network does not train on. Dotted lines: its training"
        " batches, while the weights still change and with augmentation."
    )
    if not histories:
        return Section("training", "Learning curves", lead, missing("No network was trained here."))
    blocks: list[Block] = []
    for name, networks in list(histories.items())[:MAX_MODELS]:
        figure = _figure_of(networks)
        label = "mean IoU" if figure == "accuracy" and name in segmenters else figure
        chart = draw(
            f"curves-{name}",
            f"{label} of {name} by epoch",
            lambda axes, n=networks, f=figure, t=label: _paint(axes, n, f, t),  # type: ignore[misc]
        )
        epochs = max(len(history) for history in networks.values())
        networks_text = "1 network" if len(networks) == 1 else f"{len(networks)} networks"
        caption = f"{name}: {networks_text}, {epochs} epochs."
        blocks.append(Chart(chart, caption, "held-out fold"))
    if len(histories) > MAX_MODELS:
        blocks.append(Text(f"The first {MAX_MODELS} of {len(histories)} models are shown."))
    return Section("training", "Learning curves", lead, blocks)


def _figure_of(networks: Mapping[str, History]) -> str:
    """Accuracy, if products are held out; else the loss of training."""
    lines = [line for history in networks.values() for line in history]
    return "accuracy" if any(h["valid_accuracy"] is not None for h in lines) else "loss"


def _paint(axes: Axes, networks: Mapping[str, History], figure: str, label: str) -> None:
    for number, (name, history) in enumerate(networks.items()):
        color = SERIES[number % len(SERIES)]
        for key, style in ((figure, ":"), (f"valid_{figure}", "-")):
            points = [(h["epoch"], h[key]) for h in history if h.get(key) is not None]
            if points:
                marker = "o" if len(points) == 1 else None
                shown = name if style == "-" else None
                x, y = zip(*points, strict=True)
                axes.plot(x, y, style, color=color, marker=marker, label=shown)
    axes.set(xlabel="epoch", ylabel=label)
    whole_numbers(axes.xaxis)
    if 1 < len(networks) <= len(SERIES):
        axes.legend(fontsize=8)
