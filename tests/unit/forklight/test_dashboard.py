"""The example dashboard of docs/ asks for what a scrape gives, by the names and labels that it has there."""

import json
import re
from pathlib import Path

import pytest

METRICS = Path(__file__).resolve().parents[3] / "forklight/observe/metrics.py"
OPERATING = Path(__file__).resolve().parents[3] / "docs/operating.md"
DASHBOARD = Path(__file__).resolve().parents[3] / "docs/grafana.json"

_FAMILY = re.compile(r'(Counter|Gauge|Histogram)MetricFamily\(\s*"(\w+)"')
_HISTOGRAM = re.compile(r'_histogram\(\s*"(\w+)"')
_BY = re.compile(r"by \(([^)]*)\)|\{(\w+)=~|\{\{(\w+)\}\}")


def exported() -> set[str]:
    """Every name that a scrape may have, suffixes included."""
    source = METRICS.read_text()
    suffixes: dict[str, tuple[str, ...]] = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ()}
    names = {name + suffix for kind, name in _FAMILY.findall(source) for suffix in suffixes[kind]}
    histograms = {*_HISTOGRAM.findall(source), *(name for kind, name in _FAMILY.findall(source) if kind == "Histogram")}
    return names | {name + suffix for name in histograms for suffix in ("_bucket", "_sum", "_count")}


EXPRESSIONS = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]
    for target in panel["targets"]
]


@pytest.mark.parametrize(("title", "expression", "legend"), EXPRESSIONS)
def test_a_panel_asks_for_metrics_that_exist(title: str, expression: str, legend: str) -> None:
    [name] = re.findall(r"forklight_\w+", expression)
    assert name in exported(), title
    source = METRICS.read_text()
    labels = {label for found in _BY.findall(expression + legend) for part in found for label in part.split(", ")}
    for label in labels - {"", "le"}:
        assert f'"{label}"' in source, title


def test_the_alerts_of_the_page_ask_for_metrics_that_exist() -> None:
    [rules] = re.findall(r"```yaml\n# alerts\.yml\n(groups:.*?)```", OPERATING.read_text(), re.DOTALL)
    expressions = re.findall(r"expr: (.*)", rules)
    assert len(expressions) >= 5
    asked = [name for expression in expressions for name in re.findall(r"forklight_\w+", expression)]
    assert len(asked) >= len(expressions)
    assert set(asked) <= exported()


def test_every_metric_has_a_panel() -> None:
    asked = {name for _, expression, _ in EXPRESSIONS for name in re.findall(r"forklight_\w+", expression)}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} == {
        name.removesuffix("_bucket") for name in asked
    }


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
