from lib.output.report.sections.training import training_section


def epochs(*accuracies):
    return [
        {"epoch": i, "loss": 1 / i, "accuracy": 0.5, "valid_loss": None, "valid_accuracy": a}
        for i, a in enumerate(accuracies, 1)
    ]


def test_every_model_has_a_chart_of_its_networks():
    histories = {
        "a": {"fold0": epochs(0.1, 0.2), "fold1": epochs(0.2, 0.3)},
        "drawer": {"full": epochs(0.5)},
        "alone": {"full": epochs(None, None)},
    }
    section = training_section(histories, {"drawer"})
    first, second, third = section.blocks
    assert first.caption == "a: 2 networks, 2 epochs."
    assert "fold1" in first.svg
    assert "mean IoU" in second.svg
    assert ">loss<" in third.svg


def test_without_a_network_the_section_says_so():
    assert [block.missing for block in training_section({}).blocks] == [True]
