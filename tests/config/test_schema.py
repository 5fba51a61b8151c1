import tomllib

import pytest

from lib.config.convert import build
from lib.config.reference import tables
from lib.config.schema import BOOSTERS, BOOSTERS_L2, BOOSTERS_L3, RANKERS, Config
from lib.config.write import to_toml

TABLES = tables()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.key)
def test_every_setting_has_one_sentence_of_meaning(table):
    assert table.description
    for setting in table.settings:
        assert setting.meaning.endswith(".")


def test_every_default_is_within_its_own_range():
    assert build(Config, tomllib.loads(to_toml(Config())), "defaults") == Config()


def test_every_default_booster_is_a_booster():
    assert set(BOOSTERS) >= {*BOOSTERS_L2, *BOOSTERS_L3, *RANKERS}
    assert len(set(BOOSTERS)) == len(BOOSTERS)
