"""The kinds of faults: what is done to a copy of the reference, to its run, and after it."""

import errno
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.pipeline.manifest import MANIFEST
from tests.faults.reference import NEW, Reference
from tests.faults.server import Server

OPERATIONS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "read")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SETTINGS = (
    *("train.lr=0.5", "seed=9", "stack.n_estimators=4", "blend.steps=3", "features.id_windows=[7]"),
    *("predict.tta_views=1", "split.locked=0.3", "models.a.epochs=1", "stack.l3=[]"),
)
SLOW_STAGES = ("train", "predict")
NOBODY = 65534

Prepare = Callable[[Path], None]


@dataclass(frozen=True)
class Fault:
    """One fault in a run of `stages` on a copy of the reference.

    text: what it is, for a reader. deleted: artifacts that the run has to build. prepare, mend:
    called with the folder of the copy before the run, and after it. run: what `Server.start` takes
    beside the stages and arguments. extra: arguments of the faulty run alone. broken: artifacts
    that are damaged, and may be built again. twice: two runs at once. verify: a run that finds
    everything fresh sees nothing, and `--verify` has to.
    """

    kind: str
    text: str
    new: bool
    deleted: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    prepare: tuple[Prepare, ...] = ()
    mend: tuple[Prepare, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    twice: bool = False
    verify: bool = False


def draw_fault(kind: str, rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A fault of a kind, at a place drawn by `rng`."""
    return KINDS[kind](rng, reference, server)


def _draw_artifact(rng: random.Random, reference: Reference) -> str:
    """A stage, then one of its artifacts. Networks take longest, so theirs are drawn less often."""
    stages = sorted(set(reference.stage_of.values()))
    stage = rng.choices(stages, [1 if stage in SLOW_STAGES else 2 for stage in stages])[0]
    return rng.choice([name for name, of in reference.stage_of.items() if of == stage])


def _is_new(name: str) -> bool:
    return name.startswith("new/")


def _delete(name: str) -> Prepare:
    return lambda folder: shutil.rmtree(folder / "work" / "faults" / name)


def _count_calls(server: Server, reference: Reference, name: str, operation: str) -> int:
    """How many calls of a kind the build of one artifact makes below its work folder."""
    from tests.faults.trial import start_faulty_run

    key = (str(reference.folder), name, operation)
    if key not in _counts:
        folder = reference.copy()
        _delete(name)(folder)
        run = {"environment": _environment(folder, operation, turn=0)}
        start_faulty_run(server, folder, Fault("", "", _is_new(name), run=run)).wait()
        _counts[key] = server.count()
        shutil.rmtree(folder)
    return _counts[key]


_counts: dict[tuple[str, str, str], int] = {}


def _environment(folder: Path, operation: str, turn: int, **more: int) -> dict[str, str]:
    numbers = {f"FAULT_{key.upper()}": str(value) for key, value in more.items()}
    return {"FAULT_ROOT": "{folder}", "FAULT_OP": operation, "FAULT_AT": str(turn), **numbers}


def failing_call(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A system call fails once, or always from the n-th on, while an artifact is built."""
    name, operation = _draw_artifact(rng, reference), rng.choice(OPERATIONS)
    turn = rng.randint(1, max(1, _count_calls(server, reference, name, operation)))
    number = errno.EIO if operation == "read" else rng.choice(ERRORS)
    always = rng.random() < 0.5
    environment = _environment(reference.folder, operation, turn, errno=number, always=always)
    often = "from call" if always else "at call"
    text = f"{errno.errorcode[number]} {often} {turn} of {operation} in {name}"
    return Fault(
        "failing call",
        text,
        _is_new(name),
        (name,),
        prepare=(_delete(name),),
        run={"environment": environment},
    )


def signal_at_call(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A signal arrives at the n-th call: for the process that makes it, or for its whole group."""
    name, operation = _draw_artifact(rng, reference), rng.choice(OPERATIONS)
    turn = rng.randint(1, max(1, _count_calls(server, reference, name, operation)))
    number = rng.choice(SIGNALS)
    group = number == signal.SIGINT or rng.random() < 0.5  # Ctrl-C always is for the group
    environment = _environment(reference.folder, operation, turn, signal=number, group=group)
    whom = "the group" if group else "a process"
    text = f"{number.name} for {whom} at call {turn} of {operation} in {name}"
    return Fault(
        "signal",
        text,
        _is_new(name),
        (name,),
        prepare=(_delete(name),),
        run={"environment": environment},
    )


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _zero_page(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = rng.randrange(max(1, len(data)))
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(data)


def _cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(max(1, path.stat().st_size)))


def _append(path: Path, rng: random.Random) -> None:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.randint(1, 100)))


def _remove_file(path: Path, rng: random.Random) -> None:
    path.unlink()


def _folder_instead(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _dangling_link(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _random_bytes(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.randint(0, 2000)))


DAMAGES = (
    *(_flip, _flip, _zero_page, _cut, _append, _remove_file),
    *(_folder_instead, _dangling_link, _random_bytes),
)


def damaged_file(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A file of a finished artifact is damaged; an artifact that reads it is built, or none."""
    name, damage = _draw_artifact(rng, reference), rng.choice(DAMAGES)
    files = sorted(path for path in (reference.work / name).rglob("*") if path.is_file())
    file = rng.choice(files).relative_to(reference.work)
    readers = _readers(reference, name)
    deleted = (rng.choice(readers),) if readers and rng.random() < 0.7 else ()
    seed = rng.random()
    return Fault(
        "damaged file",
        f"{damage.__name__.strip('_')} {file}" + (f", {deleted[0]} is built" if deleted else ""),
        _is_new(name) or any(map(_is_new, deleted)),
        deleted,
        (name,),
        prepare=(
            *map(_delete, deleted),
            lambda folder: damage(folder / "work" / "faults" / file, random.Random(seed)),
        ),
        verify=not deleted,
    )


def _readers(reference: Reference, name: str) -> list[str]:
    """Artifacts that have this one among their inputs."""
    digest = json.loads((reference.work / name / MANIFEST).read_text())["digest"]
    return [
        other
        for other in reference.stage_of
        if digest in json.loads((reference.work / other / MANIFEST).read_text())["inputs"].values()
    ]


def odd_leftover(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """Something lies where a lock, an unfinished build or an artifact should."""
    name = _draw_artifact(rng, reference)
    path = Path(name)
    places = {
        "unfinished build": path.with_name(path.name + ".partial"),
        "old artifact": path.with_name(path.name + ".old"),
        "lock": path.with_name(f".{path.name}.lock"),
        "artifact": path,
    }
    where = rng.choice(sorted(places))
    what = rng.choice(("a file", "a folder", "a link to nowhere", "a folder with bytes"))
    seed = rng.random()

    def prepare(folder: Path) -> None:
        place = folder / "work" / "faults" / places[where]
        if place.is_file():
            place.unlink()
        if what == "a file":
            place.write_bytes(random.Random(seed).randbytes(50))
        elif what == "a link to nowhere":
            place.symlink_to("nowhere")
        else:
            place.mkdir()
            if what == "a folder with bytes":
                for inner in ("_plan.json", MANIFEST, "oof.npy", "last.pt", "products.arrow"):
                    (place / inner).write_bytes(random.Random(seed).randbytes(50))

    return Fault(
        "odd leftover",
        f"{what} in the place of the {where} of {name}",
        _is_new(name),
        (name,),
        prepare=(_delete(name), prepare),
    )


def edited_settings(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A run with another setting, then with the old one."""
    setting, rebuild = rng.choice(SETTINGS), rng.random() < 0.2
    extra = ("--set", setting, *(["--rebuild"] if rebuild else []))
    broken = tuple(reference.stage_of) if rebuild else ()
    return Fault("edited settings", " ".join(extra), False, (), broken, extra=extra)


def replaced_input(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A file of the user is changed or gone during a run, and back before the next."""
    damage = rng.choice(DAMAGES)
    seed = rng.random()
    name = _draw_artifact(rng, reference)
    files = ("data/train.bson", "data/test.bson", "data/category_names.csv")
    file = NEW if _is_new(name) else rng.choice(files)
    return Fault(
        "replaced input",
        f"{damage.__name__.strip('_')} {file}, {name} is built",
        _is_new(name),
        (name,),
        prepare=(_delete(name), lambda folder: damage(folder / file, random.Random(seed))),
        mend=(lambda folder: _restore(reference.folder / file, folder / file),),
    )


def _restore(source: Path, path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    elif path.is_symlink():
        path.unlink()
    shutil.copy2(source, path)


def second_run(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """Two runs of the same command at once."""
    name = _draw_artifact(rng, reference)
    return Fault(
        "second run",
        f"two runs that build {name}",
        _is_new(name),
        (name,),
        prepare=(_delete(name),),
        twice=True,
    )


def closed_output(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """The reader of stdout has gone, or the disk that it is written to is full."""
    name, stdout = _draw_artifact(rng, reference), rng.choice(("closed pipe", "/dev/full"))
    return Fault(
        "closed output",
        f"stdout is {stdout}, {name} is built",
        _is_new(name),
        (name,),
        prepare=(_delete(name),),
        run={"stdout": stdout},
    )


def missing_rights(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A run of a user without rights on a folder or file of the experiment."""
    name, mode = _draw_artifact(rng, reference), rng.choice((0o000, 0o500))
    while reference.stage_of[name] in SLOW_STAGES:  # new processes need rights on the interpreter
        name = _draw_artifact(rng, reference)
    places = [Path(name).parent, Path("."), *map(Path, _inputs(reference, name))]
    place = rng.choice(places)

    def forbid(folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        (folder / "work" / "faults" / place).chmod(mode)

    def permit(folder: Path) -> None:
        (folder / "work" / "faults" / place).chmod(0o755)

    return Fault(
        "missing rights",
        f"mode {mode:03o} of {place}, {name} is built",
        _is_new(name),
        (name,),
        prepare=(_delete(name), forbid),
        mend=(permit,),
        run={"user": NOBODY},
    )


def _inputs(reference: Reference, name: str) -> list[str]:
    return [other for other in reference.stage_of if name in _readers(reference, other)]


def low_limit(rng: random.Random, reference: Reference, server: Server) -> Fault:
    """A limit of the size of files, of open files, or of memory."""
    name = _draw_artifact(rng, reference)
    limit = rng.choice(
        (
            # Larger than what a run prints, whose file it also limits.
            ("RLIMIT_FSIZE", rng.choice((20_000, 50_000, 200_000, 1_000_000))),
            ("RLIMIT_NOFILE", rng.choice((14, 18, 24, 32, 64))),
            # With less room, OpenBLAS tries for ever to allocate its buffers of 32 MB.
            ("memory", rng.choice((120, 160, 200, 300, 1000)) << 20),
        )
    )
    return Fault(
        "low limit",
        f"{limit[0]} {limit[1]}, {name} is built",
        _is_new(name),
        (name,),
        prepare=(_delete(name),),
        run={"limits": dict([limit])},
    )


Draw = Callable[[random.Random, Reference, Server], Fault]
KINDS: dict[str, Draw] = {
    "failing call": failing_call,
    "signal": signal_at_call,
    "damaged file": damaged_file,
    "odd leftover": odd_leftover,
    "replaced input": replaced_input,
    "edited settings": edited_settings,
    "second run": second_run,
    "closed output": closed_output,
    "missing rights": missing_rights,
    "low limit": low_limit,
}
# Of a thousand faults, how many are of each kind.
WEIGHTS: Sequence[int] = (360, 200, 170, 50, 50, 20, 30, 20, 40, 60)
