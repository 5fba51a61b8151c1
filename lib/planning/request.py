"""What `--data` asks for, and the folder of its plan.

    work/<name>/config.toml   the complete config, which may be edited
    work/<name>/plan.json     the request that it answers, and what was found and expected

A second call with the same request finds both and goes on. Imports nothing heavy.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.config.load import from_tree
from lib.config.schema import Config
from lib.errors import UserError
from lib.utils.files import write_json

PLAN, CONFIG = "plan.json", "config.toml"
BASE_KEYS = ("name", "work", "seed", "data", "run")  # settings that hold before the plan is made
PARTS = ("train", "data", "images", "products")  # folders whose names do not tell a catalog
MAX_NAME = 60  # characters of a name that is made of a path
UNITS = {"s": 1, "m": 60, "h": 3600}
DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class Request:
    """data, test, images: absolute paths of the catalog, "" for none; overrides: those of --set,
    with the time limit among them."""

    data: str
    test: str
    images: str
    overrides: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for plan.json."""
        return {
            "data": self.data,
            "test": self.test,
            "images": self.images,
            "set": list(self.overrides),
        }

    @property
    def base(self) -> Config:
        """The config of the request before anything of the catalog is known."""
        overrides = [o for o in self.overrides if o.lstrip().startswith(BASE_KEYS)]
        return from_tree({"name": default_name(Path(self.data))}, overrides, "--data")

    @property
    def folder(self) -> Path:
        """`work/<name>`, of the plan and of the run."""
        return Path(self.base.work) / self.base.name

    def is_planned(self) -> bool:
        """Whether the folder has a plan for this request.

        Raises UserError if the folder belongs to another catalog, or to a config of its own.
        """
        plan = read_plan(self.folder)
        if plan is None:
            if (self.folder / "extract").exists():
                raise UserError(
                    f"{self.folder} is the folder of another config; choose another name with"
                    " --set name=NAME"
                )
            return False
        if plan["request"].get("data") != self.data:
            raise UserError(
                f"{self.folder} is of another catalog, {plan['request'].get('data')}; choose"
                " another name with --set name=NAME"
            )
        return plan["request"] == self.to_dict() and (self.folder / CONFIG).exists()


def make_request(
    data: str | None,
    test: str | None,
    images: str | None,
    time_limit: str | None,
    sets: Sequence[str],
    quality: str | None = None,
) -> Request | None:
    """The request of a command line; None without `--data`.

    Raises UserError for a time limit that is no duration, and for options of `--data` without it.
    """
    if not data:
        given = {"--test": test, "--images": images, "--time-limit": time_limit}
        given |= {"--quality": quality}
        for name in (name for name, value in given.items() if value is not None):
            raise UserError(f"{name} belongs to --data; a config has all settings itself")
        return None
    overrides = list(sets)
    if time_limit is not None:
        overrides.append(f"run.time_limit={seconds_of(time_limit)}")
    if quality is not None:
        overrides.append(f'run.quality="{quality}"')
    data, test, images = (os.path.abspath(path) if path else "" for path in (data, test, images))
    return Request(data, test, images, tuple(overrides))


def default_name(data: Path) -> str:
    """The name of the experiment: the catalog's folder and, of a file, the name without suffix."""
    parts = [data.parent.name, data.stem]
    if data.is_dir():
        parts = [data.parent.name, data.name] if data.name in PARTS else [data.name]
    name = "-".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-_") for part in parts)
    return name.strip("-_")[:MAX_NAME] or "catalog"


def seconds_of(text: str) -> int:
    """The seconds of a duration such as 90s, 20m, 1h or 1h30m. Raises UserError for another."""
    match = DURATION.fullmatch(text.strip())
    seconds = 0
    if match:
        parts = zip(match.groups(), ("h", "m", "s"), strict=True)
        seconds = round(sum(float(number) * UNITS[unit] for number, unit in parts if number))
    if seconds <= 0:
        raise UserError(f"--time-limit {text}: write a duration such as 20m, 1h, 1h30m or 90s")
    return seconds


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What plan.json says; None if there is no such file. Raises UserError if it is damaged."""
    path = folder / PLAN
    try:
        plan = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        plan = None
    if not isinstance(plan, dict) or not isinstance(plan.get("request"), dict):
        raise UserError(f"{path} is damaged; delete it, and the next call plans again")
    return plan


def begin_plan(request: Request) -> None:
    """Mark the folder as that of the catalog; no request is planned in it until `write_plan`."""
    request.folder.mkdir(parents=True, exist_ok=True)
    write_json(request.folder / PLAN, {"request": {"data": request.data}})


def write_plan(
    request: Request, facts: dict[str, Any], speed: dict[str, Any], expected: dict[str, float]
) -> None:
    """Write plan.json. speed: of this machine; expected: seconds of each stage by its name."""
    plan = {"request": request.to_dict(), "catalog": facts, "speed": speed}
    plan["expected_seconds"] = expected
    write_json(request.folder / PLAN, plan)
