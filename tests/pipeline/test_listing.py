from pathlib import Path

from lib.pipeline.artifact import Artifact, Status
from lib.pipeline.listing import listed, state_line, state_lines


def artifact(name: str, frozen: bool = False) -> Artifact:
    return Artifact(Path(name), lambda folder: None, frozen=frozen)


def test_frozen_artifacts_are_listed_only_where_they_are_not_fresh():
    artifacts = [artifact("a"), artifact("b", frozen=True), artifact("c", frozen=True)]
    stale = Status("stale", ("lr 1 -> 2", "input x is missing", "input y is missing"))
    states = {Path("a"): stale, Path("b"): Status("fresh"), Path("c"): Status("missing")}
    assert listed(artifacts, states) == [artifacts[0], artifacts[2]]
    assert list(state_lines(artifacts, states)) == [
        "a: stale (lr 1 -> 2; input x is missing; input y is missing)",
        "c: missing; not built by this command; train first",
    ]
    assert state_line(artifacts[0], stale.short()) == "a: stale (lr 1 -> 2; 2 more)"
    assert Status("stale", ("one",)).short() == "stale (one)"
    assert Status("fresh").short() == "fresh"
