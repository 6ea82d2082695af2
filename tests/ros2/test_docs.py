"""The tables of docs/ros2.md say what the code does; a failure prints the table as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pro_engine.options import limits_in_words
from ros2_pro.faults import DROPS, NOTES
from ros2_pro.settings import home_of, options

PAGE = (Path(__file__).parents[2] / "docs" / "ros2.md").read_text("utf-8")


def table_after(mark: str) -> str:
    """The table that follows a comment of the page."""
    return PAGE.split(f"<!-- {mark} -->\n\n", 1)[1].split("\n\n", 1)[0].strip()


def parameter_rows():
    yield "| parameter | default | limits | |"
    yield "|---|---|---|---|"
    for name, option in options():
        limits = option.metadata
        allowed = limits_in_words(*home_of(name)).removeprefix("from ")
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        shown = f"`{shown}`" if shown else ""
        start = " *(start)*" if limits.get("read_only") else ""
        yield f"| `{name}` | {shown} | {allowed} | {limits['help']}{start} |"


def cause_rows():
    yield "| cause | frame | |"
    yield "|---|---|---|"
    for causes, fate in ((DROPS, "dropped"), (NOTES, "used")):
        for name, text in causes.items():
            yield f"| `{name}` | {fate} | {text} |"


def topic_rows():
    publishers = pytest.importorskip("ros2_pro.graph.publishers", exc_type=ImportError)
    pytest.importorskip("stereo_msgs", reason="without it one of the topics is missing")
    yield "| published | type | |"
    yield "|---|---|---|"
    for kind, topic, text in publishers.TOPICS.values():
        yield f"| `{topic}` | {kind.__module__.split('.')[0]}/{kind.__name__} | {text} |"
    yield "| `/diagnostics` | diagnostic_msgs/DiagnosticArray | see below |"


@pytest.mark.parametrize(
    ("mark", "rows"), [("parameters", parameter_rows), ("causes", cause_rows), ("topics", topic_rows)]
)
def test_the_table_is_that_of_the_code(mark, rows):
    expected = "\n".join(rows())
    assert table_after(mark) == expected, f"\n{expected}"


def test_quality_of_service_is_what_the_page_says():
    pytest.importorskip("rclpy")
    from rclpy.qos import HistoryPolicy, ReliabilityPolicy

    from ros2_pro import node
    from ros2_pro.graph import publishers

    qos = publishers.QOS
    assert qos.reliability == ReliabilityPolicy.RELIABLE and qos.history == HistoryPolicy.KEEP_LAST and qos.depth == 1
    assert "| all outputs | reliable;" in PAGE and f"(`scale/*`: {node.SENSOR_DEPTH})" in PAGE
