import pytest

from lib.config.load import load
from lib.config.schema import Config
from lib.errors import UserError
from lib.stacking.blend import Member, published_members


def members_of(config: Config) -> set[Member]:
    """The boosters of every source and layer."""
    return {
        (source, layer, booster)
        for source in config.sources
        for layer, boosters in config.layers(source).items()
        for booster in boosters
    }


# A model of masks beside the classifiers; sizes are multiples of its cells.
MASKS = [
    "data.source=openimages",
    "models.b.kind=segmentation",
    "models.b.resize=[176,176]",
    "models.b.crop=[160,160]",
]


def message(config_file, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        load(config_file, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["models.a.n_folds=3"], "a divisor of split.n_folds 4"),
        (["models.a.n_folds=8"], "a divisor of split.n_folds 4"),
        (["models.a.n_folds=1"], "need split.holdout above 0"),
        (["models.mean.epochs=1"], "models.mean: this name is reserved"),
        (["models.a/b.epochs=1"], "use letters, digits, _ and -"),
        (["backbones.multi.arch=small"], "backbones.multi: this name is reserved"),
        (["backbones.a.arch=small"], "backbones.a: models.a has the same name"),
        (["backbones.c.crop=[200,160]"], "backbones.c.crop (200, 160) is larger than resize"),
        (["train.crop=[200,160]"], "models.a.crop (200, 160) is larger than resize"),
        (["train.crop=[160,181]"], "is larger than resize"),
        (["models.b.epochs=0", "models.b.head_only_epochs=0"], "are both 0"),
        (["train.batch_size_schedule=[[2, 1]]"], "batch_size_schedule = 1: from 2 to 1000000"),
        (["train.batch_size_schedule=[[2, 8], [2, 9]]"], "rows [epoch, size] with ascending"),
        (["train.grad_accum_steps=3"], "grad_accum_steps = 3 does not divide batch_size [64]"),
        (
            ["train.grad_accum_steps=4", "train.batch_size_schedule=[[2, 6]]"],
            "grad_accum_steps = 4 does not divide batch_size [64, 6]",
        ),
        (["train.head_lr_milestones=[[1, 0.1]]"], "head_lr_milestones: write rows [epoch, rate]"),
        (["train.lr_schedule.kind=multistep"], "write rows [epoch, rate] from epoch 0 on"),
        (
            ["train.lr_schedule={kind='multistep', milestones=[[0,1],[5,1],[3,1]]}"],
            "milestones: write rows [epoch, rate] from epoch 0 on, ascending",
        ),
        (
            ["train.lr_schedule={kind='multistep', milestones=[[0,1],[0,1]]}"],
            "milestones: write rows [epoch, rate] from epoch 0 on, ascending",
        ),
        (
            ["train.sampling.hard_example_weight=1", "train.loss.mixup_alpha=1"],
            "sampling.hard_example_weight and loss.mixup_alpha exclude each other",
        ),
        (
            ["train.sampling.oversample=1", "train.sampling.class_balance=1"],
            "models.a.sampling: oversample excludes class_balance and hard_example_weight",
        ),
        (
            ["train.aspect.num_clusters=3", "models.b.input=mosaic"],
            'models.b.aspect.num_clusters is for a model with input = "image" that classifies',
        ),
        (["split.locked=0.5", "split.holdout=0.4"], "leave too little to train on"),
        (["features.top_k=50"], "features.top_k 50 is above predict.top_k 20"),
        (["data.group_by=style"], "names a column of csv, webdataset or parquet"),
        (["data.max_per_class=3"], "are for npy and strokes; data.source is bson"),
        (['data.classes=["a"]', "data.source=csv"], "are for npy and strokes"),
        (["models.b.kind=segmentation"], 'which data.source = "openimages" has; it is bson'),
        (['models.b.segmentation.clusters=["x"]'], "clusters is for a model with kind ="),
        ([*MASKS, "models.b.input=mosaic"], 'models.b.input = "mosaic": a model with kind ='),
        ([*MASKS, "models.b.segmentation.stride=32"], "are no multiples of segmentation.stride 32"),
        ([*MASKS, "models.b.augment.max_rotation=5"], "boxes cannot be turned"),
        ([*MASKS, "train.augment.rot90=true"], "boxes cannot be turned"),
        ([*MASKS, "models.b.loss.mixup_alpha=1"], "are for classes, not masks"),
        (
            [*MASKS, "train.segmentation={bce_weight=0, dice_weight=0}"],
            "models.b.segmentation: bce_weight and dice_weight are both 0",
        ),
        ([*MASKS, 'predict.embed_models=["b"]'], "predict.embed_models = 'b'; choose one of a"),
        (["stack.sources=[]"], "stack.sources is empty"),
        (["stack.l2=[]"], "stack.l2 names no booster"),
        (["stack.multi_l2=[]"], 'stack.sources has "multi", but stack.multi_l2'),
        (["stack.l3=[]", 'stack.l4=["xgboost"]'], "stack.l4 needs stack.l3"),
        (["train.blend_weight=0"], "models: every blend_weight is 0"),
        (["sample.image_count_weights=[0]"], "image_count_weights: at least one weight above 0"),
        (["data.train="], "data.train is empty; only composed scenes (scenes.num_images) can"),
        (
            ["data.source=openimages", "scenes.num_images=9"],
            "scenes.pictures is empty: scenes of generated pictures have classes of their own",
        ),
        (["data.test=train.bson"], "data.test = 'train.bson' is data.train too"),
        (["data.source=csv", "data.id_column="], "data.id_column is empty; name the column of"),
        (["data.source=csv", "data.label_column=product"], "another column than that of id_column"),
        ([f"models.{'a' * 101}.epochs=1"], "a name has at most 100 characters"),
        (["pseudo_label.teacher=x.toml", "data.test="], "a second round needs products"),
    ],
)
def test_settings_that_exclude_each_other_are_one_clear_line(config_file, overrides, words):
    assert words in message(config_file, *overrides)


def test_multi_l2_may_be_empty_without_the_multi_source(config_file):
    config = load(config_file, ["stack.multi_l2=[]", 'stack.sources=["mean"]'])
    assert config.stack.sources == ("mean",)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mosaic.min_images=3", "mosaic.max_images=2"], "or at least min_images 3"),
        (["mosaic.split_at=[3, 2]"], "split_at = [3, 2]: write ascending numbers"),
        (["mosaic.split_at=[2]", "mosaic.min_images=2"], "a network would have no products"),
        (["mosaic.split_at=[2, 4]", "mosaic.max_images=3"], "min_images 1 and max_images 3"),
        (["crop=[90, 160]"], "more than half of resize"),
        (["resize=[40, 40]", "crop=[30, 40]"], "at least 32 pixels"),
        (["sampling.one_image_per_product=true"], "a mosaic shows all images of a product"),
        (['fusion.inputs=["a"]'], 'fusion.inputs is for a model with input = "embedding"'),
        (["n_folds=2", "pseudo_label.teacher=none.toml"], "none of them has n_folds = 2"),
    ],
)
def test_a_mosaic_that_cannot_work_is_one_clear_line(config_file, overrides, words):
    keys = [key if key.startswith("pseudo_label") else f"models.b.{key}" for key in overrides]
    assert words in message(config_file, "models.b.input=mosaic", *keys)


def test_a_network_of_several_inputs_that_cannot_work_is_one_clear_line(config_file):
    for key, words in (
        ("loss.mixup_alpha=1", "products of different numbers of images cannot be mixed"),
        ("sampling.one_image_per_product=true", "a product shows all images of a product"),
        ("aspect.num_clusters=3", 'is for a model with input = "image" that classifies'),
    ):
        assert words in message(config_file, "models.b.input=product", f"models.b.{key}")


def test_only_mosaics_have_settings_of_mosaics(config_file):
    words = 'models.a.mosaic is for a model with input = "mosaic"'
    assert words in message(config_file, "models.a.mosaic.min_images=2")


def test_a_fusion_needs_inputs_that_exist_and_have_its_folds(config_file):
    fusion = "models.c.input=embedding"
    assert 'input = "embedding" needs fusion.inputs' in message(config_file, fusion)
    unknown = message(config_file, fusion, 'models.c.fusion.inputs=["z"]')
    assert "models.c.fusion.inputs = 'z'; choose one of a, b" in unknown
    folds = message(config_file, fusion, 'models.c.fusion.inputs=["a"]', "models.c.n_folds=2")
    assert "models.c.n_folds = 2 and models.a.n_folds = 4" in folds


@pytest.mark.parametrize("key", ["freeze_until=2", "unfreeze_schedule=[4, 2]"])
def test_a_fusion_has_no_units_to_freeze(config_file, key):
    fusion = ["models.c.input=embedding", 'models.c.fusion.inputs=["a"]', f"models.c.{key}"]
    assert "models.c: freeze_until and unfreeze_schedule are for models" in message(
        config_file, *fusion
    )


def test_a_fusion_may_read_a_backbone_whatever_its_folds(config_file):
    overrides = ["models.c.input=embedding", "models.c.n_folds=2", "backbones.d.arch=small"]
    assert load(config_file, [*overrides, 'models.c.fusion.inputs=["d"]']).models["c"].n_folds == 2


def test_a_mosaic_has_no_embeddings_of_single_images(config_file):
    mosaic = "models.b.input=mosaic"
    words = "predict.embed_models = 'b'; choose one of a"
    assert words in message(config_file, mosaic, 'predict.embed_models=["b"]')
    fusion = ["models.c.input=embedding", 'models.c.fusion.inputs=["b"]']
    assert "fusion.inputs = 'b'; choose one of a" in message(config_file, mosaic, *fusion)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('stack.sources=["mean", "multi"]', "needs per_model in stack.sources"),
        ('stack.l3=["xgboost"]', "needs lgbm_deep, lgbm_extra in stack.l3"),
        ('stack.multi_l2=["catboost"]', "needs xgboost in stack.multi_l2"),
    ],
)
def test_the_published_blend_needs_its_members(config_file, override, words):
    published = "blend.submit=published"
    needed = published_members(["a", "b"])
    assert needed <= members_of(load(config_file, [published]))
    assert f'blend.submit = "published" {words}' in message(config_file, published, override)
    assert not needed <= members_of(load(config_file, [override]))


def test_models_of_masks_are_no_classifiers(config_file):
    config = load(config_file, [*MASKS, "models.b.n_folds=1", 'stack.sources=["per_model"]'])
    assert list(config.classifiers) == config.sources == list(config.model_weights) == ["a"]
    assert list(config.segmenters) == ["b"]
    assert config.stack_part == "fit"
