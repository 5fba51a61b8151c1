from pathlib import Path

import pytest

SMALL = """
[train]
epochs = 3
[models.a]
arch = "small"
[models.b]
epochs = 7
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A config of two models."""
    path = tmp_path / "x.toml"
    path.write_text(SMALL)
    return path
