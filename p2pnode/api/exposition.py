"""Metrics in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from p2pnode.core.values.text import visible


class MetricType(enum.StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """A value; `suffix` is what its name has beyond its metric's."""

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with all its samples. The name ends in its unit, and that of a counter in `_total`."""

    name: str
    type: MetricType
    help: str
    samples: Sequence[Sample]


def gauge(name: str, help: str, value: float) -> Metric:
    return Metric(name, MetricType.GAUGE, help, [Sample(value, {})])


def counter(name: str, help: str, value: float) -> Metric:
    return Metric(name, MetricType.COUNTER, help, [Sample(value, {})])


def by_label(kind: MetricType, name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
    """A metric with a sample for each value of one label."""
    return Metric(name, kind, help, [Sample(value, {label: text}) for text, value in values.items()])


def histogram(name: str, help: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    """A histogram of `counts` below each bound, and above the last."""
    samples, below = [], 0
    for bound, count in zip((*map(repr, bounds), "+Inf"), counts, strict=True):
        below += count
        samples.append(Sample(below, {"le": bound}, "_bucket"))
    samples += [Sample(total, {}, "_sum"), Sample(below, {}, "_count")]
    return Metric(name, MetricType.HISTOGRAM, help, samples)


def render(metrics: Iterable[Metric]) -> str:
    """The metrics as a scrape has them."""
    return "".join(f"{line}\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.type}"
    for one in metric.samples:
        labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in one.labels.items())
        yield f"{metric.name}{one.suffix}{f'{{{labels}}}' if labels else ''} {one.value!r}"


def _escaped(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
