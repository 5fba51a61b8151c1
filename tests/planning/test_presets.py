from dataclasses import replace

import pytest

from lib.config.load import from_tree
from lib.planning import presets
from lib.planning.presets import AREAS, areas, crop_of, full_epochs, networks, plans, settings


def test_inputs_of_tiny_and_of_large_images(fashion, luma):
    assert list(areas(fashion, AREAS)) == [2_700, 6_100, 10_800]
    assert crop_of(fashion, 10_800) == (120, 90)
    assert list(areas(luma, AREAS)) == [2_700, 6_100, 12_000, 25_600, 50_176]
    assert list(areas(replace(luma, height=28, width=28), AREAS)) == [2_700, 4_096]
    assert crop_of(replace(luma, height=1000, width=10), 10_000) == (142, 70)
    assert crop_of(replace(luma, height=0, width=0), 6_400) == (80, 80)


def test_fewer_images_have_more_epochs():
    epochs = [full_epochs(n) for n in (100, 5_000, 10_000, 35_000, 1_000_000, 12_000_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == 16
    assert epochs[-1] == presets.FEWEST_EPOCHS


def test_every_plan_is_a_config_with_a_probe(fashion, luma):
    for facts in (fashion, luma):
        for plan in plans(facts):
            config = from_tree(settings(plan, facts), [], "plan")
            assert config.models["probe"].fusion.hidden_sizes == ()
            assert ("network" in config.models) == plan.is_trained
            assert config.split.n_folds % plan.folds == 0


def test_a_probe_reads_several_networks_at_the_largest_size_or_one_at_that_of_the_network(luma):
    best = max(plans(luma), key=lambda plan: plan.points)
    config = from_tree(settings(best, luma), [], "plan")
    trunks = [backbone.arch for backbone in config.backbones.values()]
    assert trunks == [f"efficientnet_lite{n}" for n in range(3)]
    assert list(config.models["probe"].fusion.inputs) == list(config.backbones)
    sides = [backbone.crop[0] for backbone in config.backbones.values()]
    assert sides == [224, 240, 260]  # those that they were trained at
    beside = [plan.probe for plan in plans(luma) if plan.is_trained and plan.area == 12_000]
    sizes = {(probe.area, len(probe.archs)) for probe in beside if probe is not None}
    assert sizes == {(12_000, 1), (50_176, 1), (50_176, 3)}


def test_of_many_products_a_trained_network_earns_more_than_frozen_ones(fashion):
    """As measured with half of the epochs, and half of the pixels (docs/fashion.md)."""
    few = [plan for plan in plans(fashion) if (plan.folds, plan.boosters) == (2, "few")]
    frozen = {len(p.probe.archs): p.points for p in few if not p.is_trained and p.area == 6_100}
    trained = max(p.points for p in few if p.is_trained and p.area == 2_700 and p.epochs == 3)
    assert frozen[2] == pytest.approx(frozen[1] + 1.1)
    assert trained == pytest.approx(frozen[2] + 0.6, abs=0.11)


def test_without_lite0_the_probe_reads_the_network_that_is_here(luma, monkeypatch):
    monkeypatch.setattr(presets, "networks", lambda: ["efficientnet_lite1"])
    trunks = {plan.probe.archs for plan in plans(luma) if plan.probe is not None}
    assert trunks == {("efficientnet_lite1",)}


def test_few_products_get_no_third_layer_and_small_trees(luma):
    best = max(plans(luma), key=lambda plan: plan.points)
    stack = from_tree(settings(best, luma), [], "plan").stack
    assert (stack.l3, stack.num_leaves) == ((), 7)
    more = from_tree(settings(best, replace(luma, labelled=5_000)), [], "plan").stack
    assert more.l3 == presets.L3_ALL


def test_ids_that_are_names_propose_no_candidates(fashion, luma):
    plan = next(plans(fashion))
    assert settings(plan, fashion)["features"]["id_neighbors"] == 3
    assert settings(plan, luma)["features"]["id_neighbors"] == 0


def test_without_weights_on_the_machine_a_small_network_trains(fashion, monkeypatch):
    assert networks()[0] == "efficientnet_lite0"
    monkeypatch.setattr(presets, "PACKAGES", {"efficientnet_lite0": ("no_such_package",)})
    assert networks() == ["small"]
    for plan in plans(fashion):
        config = from_tree(settings(plan, fashion), [], "plan")
        assert list(config.models) == ["network"]
        assert (config.models["network"].weights, config.backbones) == ("none", {})


@pytest.mark.parametrize("key", ["EPOCHS", "AREAS", "FROZEN_AREAS"])
def test_more_work_earns_more(key):
    table = getattr(presets, key)
    assert [table[name] for name in sorted(table)] == sorted(table.values())
