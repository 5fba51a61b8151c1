"""The run itself: its settings, and what its stages cost."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lib.config.schema import Config
from lib.config.write import to_toml
from lib.output.report.blocks import Block, Lines, Section, Table

# The script that builds the artifacts of a folder. Fusion models are trained by 03, in cnn/ too.
SCRIPTS = {
    "extract": "01_extract.py",
    "pseudo": "02_train_cnn.py",
    "cnn": "02_train_cnn.py",
    "predictions": "03_predict_tta.py",
    "embeddings": "03_predict_tta.py",
    "masks": "03_predict_tta.py",
    "cascade": "03_predict_tta.py",
    "features": "04_features.py",
    "stack": "05_stack.py",
    "scores": "05_stack.py",
}
LAST_SCRIPT = "06_submit.py"


class StageCost(NamedTuple):
    """What the artifacts of a script cost: seconds of building and of comparing checksums, bytes on
    the disk, and the most memory of a process that built one (0 if it is not known)."""

    script: str
    artifacts: int
    seconds: float
    check_seconds: float
    size: int
    memory: int


def stage_costs(manifests: Iterable[tuple[str, Mapping[str, Any]]]) -> list[StageCost]:
    """The costs of each script. manifests: with the name of their artifact."""
    costs: dict[str, StageCost] = {}
    for name, manifest in manifests:
        script = SCRIPTS.get(name.partition("/")[0], LAST_SCRIPT)
        before = costs.get(script, StageCost(script, 0, 0.0, 0.0, 0, 0))
        costs[script] = StageCost(
            script,
            before.artifacts + 1,
            before.seconds + manifest["seconds"],
            before.check_seconds + manifest.get("check_seconds", 0.0),
            before.size + sum(file["bytes"] for file in manifest["files"].values()),
            max(before.memory, manifest.get("peak_memory", 0)),
        )
    return sorted(costs.values())


def costs_section(costs: Iterable[StageCost]) -> Section:
    """Time, memory and size of each script."""
    lead = (
        "Seconds of every build are added up, also of those that ran side by side. Memory is the"
        " most that a process which built an artifact had used until then."
    )
    rows = [
        [
            cost.script,
            f"{cost.artifacts:,}",
            f"{cost.seconds:,.1f}",
            f"{cost.check_seconds:,.1f}",
            f"{cost.size / 1e6:,.1f}",
            f"{cost.memory / 1e6:,.0f}" if cost.memory else "-",
        ]
        for cost in costs
    ]
    header = ["script", "artifacts", "build (s)", "checksums (s)", "disk (MB)", "memory (MB)"]
    table = Table("What the finished artifacts cost on this machine", header, rows, "manifests")
    return Section("costs", "Time, memory and size", lead, [table])


def settings_section(config: Config) -> Section:
    """Settings that are not the defaults, and the whole config as TOML."""
    rows = changed_settings(config)
    lead = "What was set, and all settings of the run as a TOML file that reproduces it."
    blocks: list[Block] = []
    if rows:
        header = ["setting", "value", "default"]
        caption = "Settings that differ from their defaults; of a model, from [train]"
        blocks.append(Table(caption, header, rows, "config", num_text=3))
    blocks.append(Lines(to_toml(config), "All settings", folded=True))
    return Section("settings", "Settings", lead, blocks)


def changed_settings(config: Config) -> list[tuple[str, str, str]]:
    """Key, value and default of every setting that differs from its default.

    The default of a model's setting is that of `[train]`.
    """
    values, defaults = flat_settings(config), flat_settings(Config())
    of_models = _flat(dataclasses.asdict(config.train))
    rows = []
    for key, value in values.items():
        table, _, rest = key.partition(".")
        default = of_models.get(rest.partition(".")[2]) if table == "models" else defaults.get(key)
        if value != default:
            rows.append((key, _text(value), "-" if default is None else _text(default)))
    return rows


def different_settings(first: Config, second: Config) -> list[tuple[str, str, str]]:
    """Key and both values of every setting that two configs have otherwise, "-" for none.

    A model that only one of them has is one row.
    """
    a, b = flat_settings(first), flat_settings(second)
    rows = []
    for name in sorted(first.models.keys() ^ second.models.keys()):
        table = first.models.get(name) or second.models[name]
        here, there = (_text(table.arch) if name in c.models else "-" for c in (first, second))
        rows.append((f"models.{name}", here, there))
    alone = tuple(f"{key}." for key, *_ in rows)
    for key in dict.fromkeys([*a, *b]):
        if not key.startswith(alone) and a.get(key) != b.get(key):
            here, there = (_text(c[key]) if key in c else "-" for c in (a, b))
            rows.append((key, here, there))
    return rows


def flat_settings(config: Config) -> dict[str, Any]:
    """Every setting of a config by its dotted key, as in "models.small.lr"."""
    return _flat(dataclasses.asdict(config))


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
