"""TOML files of settings, and overrides on the command line."""

from pathlib import Path

from lib.config.load import load
from tests.conftest import ROOT
from tests.fuzz.family import Family, write


def make_seeds(folder: Path) -> list[bytes]:
    """The project's own configs, those that extend none."""
    texts = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.toml"))]
    whole = [text for text in texts if b"extends" not in text][:6]
    return [*whole, b'extends = "base.toml"\nname = "b"\n[train]\nlr = 0.01\n']


def prepare(inside: Path) -> None:
    """A file to extend."""
    write(inside / "base.toml", make_seeds(inside)[0])


def read(data: bytes, inside: Path) -> None:
    """Load a config with all its checks."""
    load(write(inside / "config.toml", data))


def override_seeds(folder: Path) -> list[bytes]:
    """Values of --set."""
    return [b"train.lr=0.01", b"models.small.epochs=2", b"data.sha256={}", b'name="x"', b"seed=3"]


def read_override(data: bytes, inside: Path) -> None:
    """Override one setting."""
    load(inside / "base.toml", [data.decode("utf-8", "surrogateescape")])


WORDS = (b"[models.x]", b"extends = ", b"nan", b"[[a]]", b"'''", b'"""', b"{", b"1979-05-27", b"0x")
FAMILIES = [
    Family("configs-toml", make_seeds, read, prepare, tokens=WORDS, weight=0.5),
    Family("configs-override", override_seeds, read_override, prepare, tokens=WORDS, weight=0.5),
]
