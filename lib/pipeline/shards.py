"""One path that stands for several files: a folder, or a pattern such as `shard-{00..12}.tar`."""

import re
from collections.abc import Iterator
from pathlib import Path

from lib.errors import UserError

MAX_FILES = 100_000  # that one pattern may stand for
SPECIAL = re.compile(r"[*?\[{]")  # of patterns
BRACES = re.compile(r"\{([^{}]*)\}")  # the innermost ones
NUMBERS = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")


def is_pattern(path: Path) -> bool:
    """Whether a path stands for other files: it has signs of a pattern, and is no file itself."""
    return bool(SPECIAL.search(str(path))) and not path.exists()


def list_shards(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a path, sorted: a file itself, all of a folder with a suffix, or of a pattern.

    In patterns {0000..0012} counts and {a,b} lists, as in a shell; every such file must be there.
    *, ?, [ab] and ** match files that are there; hidden ones are left out. Raises UserError for a
    pattern that no file fits, and for a folder without such files.
    """
    if path.is_dir():
        found = sorted(p for s in suffixes for p in path.rglob(f"*{s}") if _is_shown(path, p))
        if not found:
            raise UserError(f"{path}: no file of the kinds {', '.join(suffixes)} in it")
        return list(dict.fromkeys(found))
    if not is_pattern(path):
        return [path]
    return list(dict.fromkeys(file for text in expand(str(path)) for file in _matches(text, path)))


def root_of_shards(path: Path) -> Path:
    """The folder that the names of shards are relative to: of a pattern, the part without signs."""
    if path.is_dir():
        return path
    if not is_pattern(path):
        return path.parent
    parts = path.parts[:-1]
    plain = next((i for i, part in enumerate(parts) if SPECIAL.search(part)), len(parts))
    return Path(*parts[:plain])


def expand(text: str) -> list[str]:
    """The texts that a pattern with braces stands for, in the order of the pattern.

    As bash: {1..3}, {01..03}, {1..9..2} count, {a,b} lists, and braces may stand in braces; each
    text once. Raises UserError for more than MAX_FILES of them.
    """
    texts = [text]
    done = False
    while not done:
        done, expanded = True, []
        for one in texts:
            match = next((m for m in BRACES.finditer(one) if _choices(m[1])), None)
            if match is None:
                expanded.append(one)
                continue
            done = False
            head, tail = one[: match.start()], one[match.end() :]
            expanded += [head + choice + tail for choice in _choices(match[1])]
            if len(expanded) > MAX_FILES:
                raise UserError(f"{text}: stands for more than {MAX_FILES:,} files; name a folder")
        texts = list(dict.fromkeys(expanded))
    return texts


def _choices(inside: str) -> list[str]:
    """What the inside of braces stands for; nothing if it is plain text."""
    match = NUMBERS.fullmatch(inside)
    if match is None:
        return inside.split(",") if "," in inside else []
    first, last = int(match[1]), int(match[2])
    step = abs(int(match[3] or 1)) or 1
    if abs(last - first) // step >= MAX_FILES:
        raise UserError(f"{{{inside}}}: stands for more than {MAX_FILES:,} files; name a folder")
    is_padded = any(re.match(r"-?0\d", number) for number in (match[1], match[2]))
    width = max(len(match[1]), len(match[2])) if is_padded else 0
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return [f"{number:0{width}d}" for number in numbers]


def _matches(text: str, pattern: Path) -> Iterator[Path]:
    """The files of a pattern without braces."""
    path = Path(text)
    if path.exists() or not SPECIAL.search(text):
        if not path.is_file():
            raise UserError(f"{path}: no such file; {pattern.name} stands for it")
        yield path
        return
    root = root_of_shards(path)
    found = [p for p in sorted(root.glob(str(path.relative_to(root)))) if _is_shown(root, p)]
    if not found:
        raise UserError(f"{path}: no file fits this pattern")
    yield from found


def _is_shown(root: Path, path: Path) -> bool:
    """Whether a path is a file, and no part of it below `root` is hidden."""
    inner = path.relative_to(root).parts
    return path.is_file() and not any(part.startswith(".") for part in inner)
