"""What the monitor costs; `make bench-monitor` measures more of it, for longer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.monitor import LIMIT_RATIO, measure


def test_the_monitor_costs_next_to_nothing(tmp_path: Path) -> None:
    """Every stage together take less than half a percent of one core, at a sample every 10 s."""
    cost = measure(100, 1000, tmp_path)
    assert {"service's figures", "detectors", "rules", "metrics.db and JSON"} == set(cost.stages_s)
    assert cost.n_figures > 100
    assert cost.core_ratio < LIMIT_RATIO
