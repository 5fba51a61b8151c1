"""What the commands of the studies share: arguments, the choice of a model, errors of the user."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from lib.config.schema import Config
from lib.errors import UserError
from lib.runtime.log import configure_logging
from lib.utils.disk_errors import explain_disk_error


def config_parser(
    name: str, description: str, config: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """A parser of `--config` and `--set`; epilog: an example, if "" that of the default config."""
    command = f"python -m studies.{name}"
    parser = argparse.ArgumentParser(
        prog=command,
        description=description,
        epilog=epilog or f"example: {command} --config {config}",
    )
    parser.add_argument("--config", default=config, help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


def add_model(parser: argparse.ArgumentParser, seeds: int = 0) -> None:
    """Add `--model`, and `--seeds` if it has a default."""
    parser.add_argument("--model", default="", help="model of the config (default: the first)")
    if seeds:
        parser.add_argument("--seeds", type=int, default=seeds, help="runs of each (%(default)s)")


def find_classifier(config: Config, name: str) -> str:
    """The classifier of this name, or the first one. Raises UserError if there is none."""
    names = config.classifiers
    if name and name not in names:
        raise UserError(f"no model {name!a}; choose one of: {', '.join(names)}")
    return name or next(iter(names))


def print_report(arguments: argparse.Namespace, report: Callable[[argparse.Namespace], str]) -> int:
    """Print what `report` returns. Exit status: 0, or 2 after a user error, which is one line."""
    configure_logging()
    try:
        print(report(arguments))
    except UserError as error:
        return _fail(str(error))
    except OSError as error:  # of a file that was to be written
        reason = explain_disk_error(error, Path())
        if reason is None:
            raise
        return _fail(reason)
    return 0


def _fail(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 2
