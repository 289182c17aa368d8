"""Usage of CPU, memory and GPU per epoch, under MLflow's own metric names."""

import os

import psutil

_MB = 1e6


class SystemMetrics:
    """Samples CPU, memory and GPUs; the CPU percentage is the mean since the last sample."""

    def __init__(self) -> None:
        self._process = psutil.Process(os.getpid())
        self._gpus = _nvidia_gpus()
        psutil.cpu_percent()  # the first call has nothing to compare with, and returns 0

    def sample(self) -> dict[str, float]:
        """Measure the machine now.

        Returns:
            The metrics by name: `system/cpu_utilization_percentage` (0 to 100, of all cores together),
            `system/system_memory_usage_megabytes` and `..._percentage` (of the machine),
            `system/process_memory_megabytes` (resident, of this process) and for each GPU
            `system/gpu_<i>_utilization_percentage`, `system/gpu_<i>_memory_usage_megabytes`. A GPU that
            does not answer is missing.
        """
        memory = psutil.virtual_memory()
        sample = {
            "system/cpu_utilization_percentage": float(psutil.cpu_percent()),
            "system/system_memory_usage_megabytes": memory.used / _MB,
            "system/system_memory_usage_percentage": float(memory.percent),
            "system/process_memory_megabytes": self._process.memory_info().rss / _MB,
        }
        for i, gpu in enumerate(self._gpus):
            sample |= _gpu_sample(i, gpu)
        return sample


def _nvidia_gpus() -> list[object]:
    """NVML's handles; an empty list without `nvidia-ml-py`, a driver, or a GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # ImportError, or one of NVML's own, whose class cannot be named without it
        return []


def _gpu_sample(i: int, gpu: object) -> dict[str, float]:
    import pynvml

    try:
        return {
            f"system/gpu_{i}_utilization_percentage": float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
            f"system/gpu_{i}_memory_usage_megabytes": pynvml.nvmlDeviceGetMemoryInfo(gpu).used / _MB,
        }
    except pynvml.NVMLError:
        return {}
