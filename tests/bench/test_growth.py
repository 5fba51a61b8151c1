"""By which power of the products a figure grows."""

import pytest

from bench.growth import print_growth


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([50, 50, 50], "peak: powers 0.00, 0.00; times the first size 1.00, 1.00"),
        ([3, 30, 60], "peak: powers 1.00, 1.00; times the first size 10.00, 20.00"),
        ([1, 100, 100], "peak: powers 2.00, 0.00; times the first size 100.00, 100.00"),
    ],
)
def test_powers_are_slopes_between_neighboring_sizes(values, line, capsys):
    print_growth("peak", [0.1, 1, 2], values)
    assert capsys.readouterr().out.strip() == line
