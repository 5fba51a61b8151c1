import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.data import Data
from lib.config.load import load
from lib.config.model import LRSchedule, Model
from lib.config.schema import Config
from lib.config.setting import settings_of
from lib.config.write import to_toml
from tests.config.test_load import SHIPPED

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=1000)


def reloaded(config: Config) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(to_toml(config))
        return load(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_written_config_loads_as_the_same(path):
    config = load(path)
    assert reloaded(config) == config


@settings(deadline=None)
@given(
    TEXT.filter(lambda text: not text.isspace() and text),
    st.dictionaries(TEXT, st.sampled_from(["", "ab", "a\"'\\\nb"])),
    st.floats(0, 10, exclude_min=True),
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 10, exclude_min=True))),
)
def test_any_text_and_number_survives(text, checksums, lr, rows):
    model = Model(arch=text, lr=lr, lr_schedule=LRSchedule(milestones=tuple(rows)))
    data = Data(sha256=checksums, root=text, test="")
    config = Config(work=text, data=data, models={"a": model})
    assert reloaded(config) == config


def test_every_setting_is_written():
    text = to_toml(replace(Config(), models={"a": Model()}))
    for name in settings_of(Data):
        assert f"\n{name} = " in text
    assert text.count("\nloss.mixup_alpha = 0.0") == 2  # of [train] and [models.a]
