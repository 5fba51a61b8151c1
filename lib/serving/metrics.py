"""Counts of a service, as Prometheus reads them."""

import threading
from collections import Counter

BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds, of the histogram


class Metrics:
    """Requests by status, and how long the answered ones took. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[int] = Counter()
        self._seconds: Counter[float] = Counter()
        self._total = 0.0

    def add(self, status: int, seconds: float) -> None:
        """Count a request that ended with this status after so many seconds."""
        with self._lock:
            self._requests[status] += 1
            if status == 200:
                self._total += seconds
                self._seconds[next((bound for bound in BOUNDS if seconds <= bound), 1e9)] += 1

    def text(self, gauges: dict[str, int], counters: dict[str, int]) -> str:
        """All figures in Prometheus' text format, with others by their names."""
        with self._lock:
            lines = ["# TYPE predict_requests_total counter"]
            for status, count in sorted(self._requests.items()):
                lines.append(f'predict_requests_total{{status="{status}"}} {count}')
            lines.append("# TYPE predict_seconds histogram")
            count = 0
            for bound in BOUNDS:
                count += self._seconds[bound]
                lines.append(f'predict_seconds_bucket{{le="{bound:g}"}} {count}')
            count += self._seconds[1e9]
            lines.append(f'predict_seconds_bucket{{le="+Inf"}} {count}')
            lines += [f"predict_seconds_sum {self._total:.6f}", f"predict_seconds_count {count}"]
        for kind, figures in (("gauge", gauges), ("counter", counters)):
            for name, value in figures.items():
                lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
