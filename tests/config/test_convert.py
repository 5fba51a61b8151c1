from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from lib.config.convert import build, type_name
from lib.config.load import load
from lib.config.setting import Range, setting
from lib.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Range(min=0, max=1)] = setting(0.5, "A rate.")


@dataclass(frozen=True)
class Outer:
    count: int = setting(1, "A count.")
    shape: tuple[int, int] = setting((2, 3), "A shape.")
    rows: tuple[tuple[float, float], ...] = setting((), "Rows.")
    views: Literal[1, 2, 5] = setting(1, "Views.")
    layers: tuple[Literal["a", "b"], ...] = setting((), "Layers.")
    inner: Inner = field(default_factory=Inner)
    named: dict[str, Inner] = field(default_factory=dict)


def test_missing_keys_keep_their_defaults():
    assert build(Outer, {}, "x") == Outer()


def test_lists_become_tuples_and_tables_become_dataclasses():
    tree = {
        "shape": [5, 6],
        "rows": [[0, 1], [2, 0.5]],
        "layers": ["b"],
        "inner": {"rate": 1},
        "named": {"n": {"rate": 0.25}},
    }
    made = build(Outer, tree, "x")
    assert made == Outer(1, (5, 6), ((0.0, 1.0), (2.0, 0.5)), 1, ("b",), Inner(1.0), made.named)
    assert made.named == {"n": Inner(0.25)}
    assert type(made.inner.rate) is float


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"cuont": 1}, "x: unknown key cuont; did you mean count?"),
        ({"inner": {"rat": 1}}, "x: unknown key inner.rat; did you mean inner.rate?"),
        ({"zzz": 1}, "x: unknown key zzz; known keys: count, shape"),
        ({"count": 1.5}, "x: count takes a whole number, not 1.5"),
        ({"count": True}, "count takes a whole number, not True"),
        ({"count": [1]}, "count takes a whole number"),
        ({"shape": [1]}, "shape takes 2 values, not [1]"),
        ({"shape": [1, "2"]}, "shape takes a whole number, not '2'"),
        ({"shape": 3}, "shape takes a list, not 3"),
        ({"views": 3}, "views = 3; choose one of 1, 2, 5"),
        ({"views": True}, "views = True; choose one of 1, 2, 5"),
        ({"views": [1]}, "views = [1]; choose one of 1, 2, 5"),
        ({"layers": ["c"]}, "layers = 'c'; choose one of a, b"),
        ({"inner": 3}, "inner takes a table, not 3"),
        ({"inner": {"rate": 2}}, "inner.rate = 2.0: from 0 to 1"),
        ({"inner": {"rate": float("nan")}}, "inner.rate = nan: from 0 to 1"),
        ({"named": {"n": {"rate": -1}}}, "named.n.rate = -1.0: from 0 to 1"),
        ({"named": 3}, "named takes a table, not 3"),
    ],
)
def test_a_wrong_value_is_one_clear_line(tree, words):
    with pytest.raises(UserError) as error:
        build(Outer, tree, "x")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_types_have_plain_names():
    assert type_name(Annotated[float, Range(min=0)]) == "a number"
    assert type_name(tuple[str, ...]) == "a list"
    assert type_name(dict[str, str]) == "a table"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=1", "unknown key train.epoch; did you mean train.epochs?"),
        ("models.a.learning=1", "unknown key models.a.learning"),
        ("train.epochs=1.5", "takes a whole number, not 1.5"),
        ("train.flip=1", "takes true or false"),
        ("train.crop=[1,2,3]", "takes 2 values"),
        ("train.crop=[8,32]", "train.crop = 8: from 16 to 4096"),
        ("predict.tta_views=3", "choose one of 1, 2, 5, 10"),
        ("split.locked=0.0", "split.locked = 0.0: above 0, below 1"),
        ('stack.l2=["xgboots"]', "choose one of xgboost"),
        ('stack.sources=["mean", "all"]', "choose one of mean, per_model, multi"),
        ("data.source=cvs", "choose one of bson, csv, folders, npy, strokes, sample"),
        ("train.lr_schedule.num_cycles=0", "train.lr_schedule.num_cycles = 0: from 1 to 1000"),
        ("train.lr_schedule.warmup_fraction=3.0", "warmup_fraction = 3.0: from 0 to 1"),
        ("train.loss.label_smoothing=1.5", "loss.label_smoothing = 1.5: from 0 to 0.99"),
        ("train.loss.mixup_alpha=-0.2", "loss.mixup_alpha = -0.2: from 0 to 100"),
        ("train.epochs=-1", "train.epochs = -1: from 0 to 100000"),
        ("train.batch_size=1", "train.batch_size = 1: from 2 to 1000000"),
        ("train.grad_accum_steps=0", "train.grad_accum_steps = 0: at least 1"),
        ("models.b.augment.max_rotation=200.0", "models.b.augment.max_rotation = 200.0: from 0"),
        ("models.b.mosaic.min_images=0", "models.b.mosaic.min_images = 0: at least 1"),
        ("models.b.mosaic.max_images=-1", "max_images = -1"),
        ("predict.shard_size=0", "predict.shard_size = 0: from 1 to 1000000"),
        ("run.predict_batch_size=0", "run.predict_batch_size = 0: from 1 to 1000000"),
        ("inference.top_k=0", "inference.top_k = 0: from 1 to 1000"),
        ("inference.min_precision=0.4", "inference.min_precision = 0.4: at least 0.5, below 1"),
        ("inference.min_precision=1.0", "inference.min_precision = 1.0"),
        ("pseudo_label.loss_weight=0", "pseudo_label.loss_weight = 0.0: above 0, at most 1"),
        ("data.bitmap_size=4", "data.bitmap_size = 4: from 8 to 1024"),
        ("data.max_per_class=-1", "data.max_per_class = -1: at least 0"),
        ("split.n_folds=1", "split.n_folds = 1: from 2 to 100"),
    ],
)
def test_a_setting_outside_its_type_or_range_is_one_clear_line(config_file, override, words):
    with pytest.raises(UserError) as error:
        load(config_file, [override])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
