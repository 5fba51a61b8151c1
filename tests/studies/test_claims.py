"""docs/claims.md: every row has a verdict that its seeds allow, a command that exists, and figures
that stand in another page.
"""

import re
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "claims.md").read_text()
VERDICTS = ("holds here", "does not hold here", "one seed: open", "cannot be tested here")
NUMBER = r"[-+]?\d+(?:\.\d+)?"
ESTIMATE = re.compile(rf"({NUMBER})(?: %)?(?: \(|, )({NUMBER}) ?(?:\.\.|to) ?({NUMBER})\)")


class Claim(NamedTuple):
    """A row of the ledger."""

    id: str
    claim: str
    place: str
    figure: str
    seeds: str
    data: str
    command: str
    verdict: str

    @property
    def num_seeds(self) -> int:
        """0 if nothing was run."""
        number = re.match(r"\d+", self.seeds)
        return int(number[0]) if number else 0


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def claims() -> list[Claim]:
    rows = [cells(line) for line in PAGE.splitlines() if re.match(r"\| [A-Z]\d+ \|", line)]
    return [Claim(*row) for row in rows if len(row) == len(Claim._fields)]


CLAIMS = claims()
COMMANDS = dict(re.findall(r"^\| ([A-Z][A-Z0-9]?) \| (.*`.*) \|$", PAGE, re.MULTILINE))


def verdict(claim: Claim) -> str:
    """The verdict without its reason."""
    return claim.verdict.split("`")[1]


def estimates(text: str) -> set[tuple[float, ...]]:
    """Values with their intervals, however they are written."""
    return {tuple(map(float, numbers)) for numbers in ESTIMATE.findall(text)}


def has_zero(estimate: tuple[float, ...]) -> bool:
    """Whether the interval contains zero."""
    _, low, high = estimate
    return low <= 0 <= high


def test_every_claim_has_one_row_with_a_verdict_of_the_list():
    assert len(CLAIMS) >= 30
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert [claim for claim in CLAIMS if verdict(claim) not in VERDICTS] == []
    assert [claim.id for claim in CLAIMS if not all(claim)] == []


@pytest.mark.parametrize("name", VERDICTS)
def test_the_head_counts_the_verdicts(name):
    count = re.search(rf"^\| `{name}` \| (\d+) \|", PAGE, re.MULTILINE)
    assert count
    assert int(count[1]) == sum(verdict(claim) == name for claim in CLAIMS)


def test_no_single_seed_decides():
    decided = [claim for claim in CLAIMS if verdict(claim) in VERDICTS[:2]]
    undecided = [claim for claim in CLAIMS if verdict(claim) == "one seed: open"]
    assert [claim for claim in decided if claim.seeds != "count" and claim.num_seeds < 2] == []
    assert [claim for claim in undecided if claim.num_seeds > 1] == []


def test_what_cannot_be_tested_says_why():
    reason = re.compile(r"`cannot be tested here`: \w+")
    untested = [claim for claim in CLAIMS if verdict(claim) == "cannot be tested here"]
    assert [claim for claim in untested if not reason.match(claim.verdict)] == []


def test_a_gain_within_its_interval_does_not_hold():
    """A row whose every interval contains zero can hold only as a claim that nothing is gained."""
    found = {c.id: estimates(c.figure) for c in CLAIMS if verdict(c) == "holds here"}
    within = {name for name, of_row in found.items() if of_row and all(map(has_zero, of_row))}
    assert within <= {"C22", "O14"}  # dropout, light augmentation


def test_every_figure_stands_in_another_page():
    pages = [page for page in (ROOT / "docs").glob("*.md") if page.name != "claims.md"]
    known = set().union(*(estimates(page.read_text()) for page in pages))
    assert sorted(estimates(PAGE) - known) == []


def test_every_note_is_there():
    used, defined = (
        re.findall(pattern, PAGE, re.MULTILINE)
        for pattern in (r"\[\^(\w+)\](?!:)", r"^\[\^(\w+)\]:")
    )
    assert set(used) == set(defined)
    assert len(set(defined)) == len(defined)


def test_every_row_names_a_command():
    recipe = (ROOT / "studies" / "recipe.py").read_text()
    for claim in CLAIMS:
        settings = re.findall(r'"([^"]+)"', claim.command)
        keys = re.sub(r'"[^"]+"', "", claim.command).replace(",", " ").split()
        if verdict(claim) != "cannot be tested here" or keys != ["none"]:
            assert keys, claim
            assert set(keys) <= set(COMMANDS), claim
        assert [name for name in settings if f'"{name}":' not in recipe] == [], claim


def test_the_commands_exist():
    text = "\n".join(COMMANDS.values())
    paths = {f"{module.replace('.', '/')}.py" for module in re.findall(r"-m ([\w.]+)", text)}
    paths |= set(re.findall(r"configs/\w+\.toml", PAGE)) | set(re.findall(r"\d\d_\w+\.py", text))
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []


def test_the_options_of_the_studies_exist():
    shared = [(ROOT / "studies" / name).read_text() for name in ("command.py", "trials.py")]
    for command in re.findall(r"-m ((?:studies|bench)\.\w+[^`]*)", "\n".join(COMMANDS.values())):
        module = ROOT / f"{command.split()[0].replace('.', '/')}.py"
        helper = (ROOT / "bench" / "report.py").read_text()
        source = "\n".join([module.read_text(), helper, *shared])
        options = re.findall(r"--[a-z]+", command)
        assert [name for name in options if f'"{name}"' not in source] == [], command
