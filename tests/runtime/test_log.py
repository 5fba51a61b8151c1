"""What a run reports to stderr and to its log file."""

import logging

import pytest

from lib.runtime.log import configure_logging, log_settings


def log_at_every_level() -> None:
    logger = logging.getLogger("lib.some.module")
    logger.debug("a detail")
    logger.info("progress")
    logger.warning("a problem")
    logger.error("a failure")


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (logging.DEBUG, ["a detail", "progress", "warning: a problem", "error: a failure"]),
        (logging.INFO, ["progress", "warning: a problem", "error: a failure"]),
        (logging.WARNING, ["warning: a problem", "error: a failure"]),
    ],
)
def test_stderr_has_the_records_of_the_level(capsys, level, lines):
    configure_logging(level)
    log_at_every_level()
    assert capsys.readouterr().err.splitlines() == lines


def test_the_file_has_all_records_whatever_the_level(tmp_path, capsys):
    file = tmp_path / "logs" / "run.log"
    configure_logging(logging.WARNING, file)
    assert not file.exists()  # it is made by the first record
    log_at_every_level()
    records = [line.split(" ", 2)[2] for line in file.read_text().splitlines()]
    assert records[0] == "DEBUG lib.some.module: a detail"
    assert len(records) == 4
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_second_call_replaces_the_first(tmp_path, capsys):
    configure_logging(logging.DEBUG, tmp_path / "first.log")
    configure_logging(logging.INFO)
    log_at_every_level()
    assert not (tmp_path / "first.log").exists()
    assert capsys.readouterr().err.count("progress") == 1


def test_a_file_is_appended_to(tmp_path):
    for _ in range(2):
        configure_logging(logging.INFO, tmp_path / "run.log")
        logging.getLogger("lib").info("progress")
    assert (tmp_path / "run.log").read_text().count("progress") == 2


def test_settings_are_those_of_the_last_call(tmp_path):
    configure_logging(logging.DEBUG, tmp_path / "run.log")
    assert log_settings() == (logging.DEBUG, tmp_path / "run.log")
    configure_logging(logging.WARNING)
    assert log_settings() == (logging.WARNING, None)


def test_other_libraries_are_left_alone(capsys):
    configure_logging(logging.DEBUG)
    logging.getLogger("another.library").info("noise")
    assert capsys.readouterr().err == ""


def test_a_file_that_cannot_be_written_leaves_stderr_as_it_is(tmp_path, capsys):
    for name, target in (("full.log", "/dev/full"), ("gone.log", tmp_path / "no" / "run.log")):
        (tmp_path / name).symlink_to(target)  # a full disk; a file that cannot be opened
        configure_logging(logging.INFO, tmp_path / name)
        logging.getLogger("lib.some.module").error("no space left on the disk")
        configure_logging(logging.INFO)
        assert capsys.readouterr().err == "error: no space left on the disk\n"


def test_names_from_a_catalog_neither_move_the_cursor_nor_look_like_other_lines(tmp_path, capsys):
    configure_logging(logging.INFO, tmp_path / "run.log")
    logger = logging.getLogger("lib.some.module")
    logger.warning("the first at %s", "a\x1b[2J\x07\nerror: \u202eforged")
    logger.info("two\n  lines \x1b[1m")
    shown = "warning: the first at a\\x1b[2J\\x07 error: \\u202eforged\ntwo\n  lines \\x1b[1m\n"
    assert capsys.readouterr().err == shown
    assert len((tmp_path / "run.log").read_text().splitlines()) == 3


def test_a_long_message_keeps_its_start_and_its_remedy(capsys):
    configure_logging(logging.INFO)
    logging.getLogger("lib").error("%s: %s; mend it", "file", "x" * 10_000)
    text = capsys.readouterr().err
    assert len(text) < 1700
    assert text.startswith("error: file: xxx")
    assert text.endswith("x; mend it\n")
