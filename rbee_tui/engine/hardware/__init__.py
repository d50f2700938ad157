"""The hardware as one frozen reading: NVML, psutil, cgroup limits, sysfs.

`Probe` keeps NVML initialised between readings; `read()` is one reading without a probe to keep.
"""

from rbee_tui.engine.hardware.probe import Probe, read
from rbee_tui.engine.hardware.reading import Cpu, Disk, Gpu, Memory, Metal, Nvml, OtherGpu, Reading

__all__ = ["Cpu", "Disk", "Gpu", "Memory", "Metal", "Nvml", "OtherGpu", "Probe", "Reading", "read"]
