"""Numbers as shops export them, such as "1.299,00 €": each parsed, the column understood"""

import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

Decimal = Literal["point", "comma"]

MISSING_WORDS = {  # what exports write where there is no value
    *(
        "-",
        "--",
        "\u2013",
        "\u2014",
        "?",
        "n/a",
        "na",
        "nan",
        "none",
        "null",
        "nil",
        "undefined",
        "#n/a",
    ),
    *("unknown", "#value!", "#ref!", "\\n"),
}
MAX_AFFIX = 12  # characters before or after a number, such as a currency
MAX_COUNTED = 1000  # different values of a kind that are counted, so that memory is bounded
MAX_SHOWN = 3  # of them that are shown
MAX_LETTERS = 40  # of each
CACHED = 1 << 16  # values whose parse is remembered

# A point after letters ends an abbreviation, such as that of rupees.
_NUMBER = re.compile(r"(?P<body>\d[\d.,' ]*\d|\d|(?<![^\W\d_])[.,]\d+)(?P<exponent>[eE][+-]?\d+)?")
_GROUPS = re.compile(r"\d{1,3}(?:[.,' ]\d{3})+\Z|\d{1,2}(?:,\d{2})+,\d{3}\Z")
_CODE = re.compile(r"[^\W\d_]\s*[-+]\Z")  # "AB-" before digits: a code, and no sign
_SAME_SIGNS = str.maketrans(  # minus signs, apostrophes, the Arabic separators; exponents go
    "\u2212\u2010\u2012\u2013\u2019\u02bc\u00b4`\u066b\u066c", "----''''.,", "²³"
)


@dataclass(frozen=True)
class Parsed:
    """A number by both readings of its separators.

    point, comma: its value where a point, or a comma, is the decimal separator.
    says: the separator that it shows to be the decimal one; "" where it shows none.
    is_ambiguous: whether the two readings differ, as of "1.299".
    affix: its currency or unit.
    """

    point: float
    comma: float
    says: Literal["point", "comma", ""] = ""
    is_ambiguous: bool = False
    affix: str = ""


@lru_cache(CACHED)
def parse(text: str) -> Parsed | None:
    """The number in a text that has no other digits; None if it cannot be read.

    Read are blanks and apostrophes between groups of three digits, points and commas as either
    separator, a sign, a currency or unit on either side, and "12.-". Not read are ranges, dates and
    codes, such as "10-20", "2024-05-01" and "AB-12".
    """
    plain = unicodedata.normalize("NFKC", text.translate(_SAME_SIGNS)).strip()
    found = _NUMBER.search(plain)
    if found is None:
        return None
    before, after = plain[: found.start()].strip(), plain[found.end() :].strip()
    affix = (before + after).strip("-+., ").casefold()
    rest = before + after
    if any(map(str.isdigit, rest)) or max(len(before), len(after)) > MAX_AFFIX:
        return None
    if before.startswith("("):  # an amount that is owed, or a remark
        return None
    if _CODE.search(before) and not before.startswith(("-", "+")):
        return None
    sign = -1 if before.startswith("-") or before.endswith("-") else 1
    exponent = found["exponent"] or ""
    parsed = _parse_body(found["body"], exponent)
    if parsed is None or not math.isfinite(parsed.point) or not math.isfinite(parsed.comma):
        return None
    return Parsed(sign * parsed.point, sign * parsed.comma, parsed.says, parsed.is_ambiguous, affix)


def _parse_body(body: str, exponent: str) -> Parsed | None:
    """Digits and separators, without a sign."""
    last = max(body.rfind("."), body.rfind(","))
    if last < 0:
        return _whole(body, exponent)
    mark, other = (".", ",") if body[last] == "." else (",", ".")
    whole, digits = body[:last], body[last + 1 :]
    if body.count(mark) > 1:  # groups, as in "1.299.000"
        if other in body or exponent:
            return None
        value = _grouped(body)
        return None if value is None else Parsed(value, value, _separator(other))
    if not digits.isdigit():
        return None
    value = 0.0 if whole == "" else _grouped(whole)
    if value is None:
        return None
    decimal = float(f"{value:.0f}.{digits}{exponent}")
    may_group = len(digits) == 3 and re.fullmatch(r"[1-9]\d{0,2}", whole) and not exponent
    if not may_group:
        return Parsed(decimal, decimal, _separator(mark))
    grouped = float(whole + digits)
    by_point, by_comma = (decimal, grouped) if mark == "." else (grouped, decimal)
    return Parsed(by_point, by_comma, "", True)


def _whole(body: str, exponent: str) -> Parsed | None:
    value = float(body + exponent) if body.isdigit() else _grouped(body)
    return None if value is None else Parsed(value, value)


def _grouped(digits: str) -> float | None:
    """Digits in groups by one kind of separator, or without any; None if they are not in groups."""
    if digits.isdigit():
        return float(digits)
    if len(set(re.sub(r"\d", "", digits))) != 1 or not _GROUPS.match(digits):
        return None
    return float(re.sub(r"\D", "", digits))


def _separator(mark: str) -> Decimal:
    return "point" if mark == "." else "comma"


@dataclass
class NumberColumn:
    """A column of numbers that is filled value by value, and understood when it is complete.

    point, comma: the value of each product by both readings; NaN where it is missing.
    """

    point: "array[float]"
    comma: "array[float]"
    says: Counter[str] = field(default_factory=Counter)
    ambiguous: Counter[str] = field(default_factory=Counter)  # by separator, as in "1.299"
    first_ambiguous: str = ""
    plain: int = 0  # values without any separator
    plain_large: int = 0  # those from 1000 on
    numbers: int = 0
    unreadable: int = 0
    shown: Counter[str] = field(default_factory=Counter)
    affixes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def empty(cls, num_products: int) -> "NumberColumn":
        """A column in which every value is missing."""
        none = array("d", [math.nan]) * num_products
        return cls(none, array("d", none))

    def take(self, row: int, text: str) -> None:
        """Set the value of a product, unless it has one."""
        if not math.isnan(self.point[row]) or text.casefold() in MISSING_WORDS:
            return
        parsed = parse(text)
        if parsed is None:
            self.unreadable += 1
            _count(self.shown, text)
            return
        self.numbers += 1
        self.point[row], self.comma[row] = parsed.point, parsed.comma
        _count(self.affixes, parsed.affix)
        if parsed.says:
            self.says[parsed.says] += 1
        elif parsed.is_ambiguous:
            mark = "point" if abs(parsed.point) < abs(parsed.comma) else "comma"
            self.ambiguous[mark] += 1
            self.first_ambiguous = self.first_ambiguous or text
        else:
            self.plain += 1
            self.plain_large += abs(parsed.point) >= 1000

    def decide(self) -> tuple[Decimal, bool]:
        """The decimal separator of the column, and whether its values show it.

        The most common separator of the values that show one. Where none does, and all values of
        1000 or more are written like "1.299", this is how thousands are written; the other values
        must be whole numbers then. Else "1.299" is a decimal number and "1,299" a thousand.
        """
        point, comma = self.says["point"], self.says["comma"]
        if point != comma:
            return ("point" if point > comma else "comma"), True
        if not self.ambiguous.total():
            return "point", True  # no value depends on it
        mark = "point" if self.ambiguous["point"] >= self.ambiguous["comma"] else "comma"
        groups = self.plain > 0 and self.plain_large == 0
        return ("comma" if mark == "point" and groups else "point"), False

    def values(self, decimal: Decimal) -> np.ndarray:
        """The numbers by one reading: float64 [P], NaN where missing."""
        return np.array(self.point if decimal == "point" else self.comma, np.float64)

    def unreadable_values(self) -> list[str]:
        """The most common values that are no numbers, with their count."""
        return [f"{value!a} ({count:,})" for value, count in self.shown.most_common(MAX_SHOWN)]

    def units(self) -> Sequence[str]:
        """The most common currencies or units, if there are several: plain numbers are compared."""
        named = [(unit, count) for unit, count in self.affixes.most_common() if unit]
        if len(named) < 2:
            return []
        return [f"{unit!a} ({count:,})" for unit, count in named[:MAX_SHOWN]]


def _count(counter: Counter[str], value: str) -> None:
    shown = value[:MAX_LETTERS]
    if shown in counter or len(counter) < MAX_COUNTED:
        counter[shown] += 1
