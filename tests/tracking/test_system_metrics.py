import time

from drsearch.tracking.system_metrics import SystemMetrics


def test_a_sample_tells_cpu_and_memory_under_the_names_of_mlflow() -> None:
    metrics = SystemMetrics()
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass
    sample = metrics.sample()
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage",
        "system/process_memory_megabytes",
    } <= set(sample)
    assert 0 < sample["system/cpu_utilization_percentage"] <= 100
    assert 0 < sample["system/process_memory_megabytes"] < sample["system/system_memory_usage_megabytes"]


def test_the_memory_of_this_process_grows_with_what_it_holds() -> None:
    metrics = SystemMetrics()
    before = metrics.sample()["system/process_memory_megabytes"]
    held = bytearray(b"\1") * 100_000_000
    assert metrics.sample()["system/process_memory_megabytes"] > before + 80
    assert len(held) == 100_000_000
