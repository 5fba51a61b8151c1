"""What the commands of the studies share."""

import pytest

from lib.config.load import load
from lib.errors import UserError
from studies import command


def test_an_error_of_the_user_is_one_line_and_status_2(capsys):
    def fail(_):
        raise UserError("no such thing")

    arguments = command.config_parser("x", "A study.", "configs/sample.toml").parse_args([])
    assert command.print_report(arguments, fail) == 2
    assert capsys.readouterr().err == "error: no such thing\n"
    assert command.print_report(arguments, lambda given: given.config) == 0
    assert capsys.readouterr().out == "configs/sample.toml\n"


def test_the_first_classifier_is_the_default():
    config = load("configs/openimages.toml")
    assert command.find_classifier(config, "") == "lite1"
    assert command.find_classifier(config, "lite1") == "lite1"
    with pytest.raises(UserError, match="no model 'whole'; choose one of: lite1"):
        command.find_classifier(config, "whole")  # it draws masks


def test_seeds_are_an_option_where_they_have_a_default():
    parser = command.config_parser("x", "A study.", "configs/sample.toml")
    command.add_model(parser, seeds=3)
    arguments = parser.parse_args(["--model", "lite0", "--set", "seed=2"])
    assert (arguments.model, arguments.seeds, arguments.set) == ("lite0", 3, ["seed=2"])
