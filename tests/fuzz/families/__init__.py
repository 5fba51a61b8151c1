"""The families of inputs, by name."""

from importlib import import_module

from tests.fuzz.family import Family

MODULES = (
    "bson",
    "pictures",
    "tables",
    "strokes",
    "arrays",
    "configs",
    "arrow",
    "manifests",
    "json_files",
    "checkpoints",
    "boosters",
    "compiled",
    "openimages",
    "webdataset",
    "parquet",
)


def load_families(*names: str) -> list[Family]:
    """The families of these names, or of these modules; all of them without names."""
    families: list[Family] = []
    for module in MODULES:
        if not names or any(name.split("-")[0] == module.split("_")[0] for name in names):
            families += import_module(f"tests.fuzz.families.{module}").FAMILIES
    chosen = [f for f in families if not names or f.name in names or f.name.split("-")[0] in names]
    unknown = [
        n for n in names if n not in {x for f in chosen for x in (f.name, f.name.split("-")[0])}
    ]
    if unknown:
        raise SystemExit(f"no family {unknown[0]}")
    return chosen
