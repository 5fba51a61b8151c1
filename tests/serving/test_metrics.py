from lib.serving.metrics import Metrics


def test_counts_are_in_the_text_format_of_prometheus():
    metrics = Metrics()
    for status, seconds in ((200, 0.03), (200, 0.3), (200, 99.0), (422, 0.01)):
        metrics.add(status, seconds)
    lines = metrics.text({"waiting": 2}, {"batches_total": 5}).splitlines()
    assert lines[:3] == [
        "# TYPE predict_requests_total counter",
        'predict_requests_total{status="200"} 3',
        'predict_requests_total{status="422"} 1',
    ]
    buckets = dict(line.split(" ") for line in lines if "bucket" in line)
    assert buckets['predict_seconds_bucket{le="0.05"}'] == "1"
    assert buckets['predict_seconds_bucket{le="0.5"}'] == "2"
    assert buckets['predict_seconds_bucket{le="+Inf"}'] == "3"
    assert "predict_seconds_sum 99.330000" in lines
    assert "predict_seconds_count 3" in lines
    assert lines[-4:] == [
        "# TYPE waiting gauge",
        "waiting 2",
        "# TYPE batches_total counter",
        "batches_total 5",
    ]
