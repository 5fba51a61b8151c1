import re
import xml.etree.ElementTree as ElementTree

from lib.output.report.charts import SERIES, draw, log_counts


def example(name="example"):
    def paint(axes):
        axes.plot([1, 10, 1000], [0, 1, 2], "o-", color=SERIES[0], label="<b> & $x$")
        log_counts(axes)
        axes.legend()

    return draw(name, 'says "<what>"', paint)


def test_texts_stay_texts_and_are_escaped():
    svg = example()
    assert "&lt;b&gt; &amp; $x$" in svg
    assert "1,000" in svg
    assert "<b>" not in svg
    assert 'aria-label="says &#34;&lt;what&gt;&#34;"' in svg
    ElementTree.fromstring(svg)  # well formed


def test_colors_are_those_of_the_page():
    svg = example()
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#0[1-5]0[1-5]0", svg)


def test_charts_name_no_address_and_share_no_id():
    first, second = example("first"), example("second")
    assert "http" not in first + second
    ids = re.findall(r' id="([^"]*)"', first) + re.findall(r' id="([^"]*)"', second)
    assert len(ids) == len(set(ids)) > 0


def test_the_same_chart_has_the_same_bytes():
    assert example() == example()
