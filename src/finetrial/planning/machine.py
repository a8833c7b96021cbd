"""What this machine has, as far as it can be known without torch: cores, memory, free disk, a card's name."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from finetrial.errors import unknown_name
from finetrial.footprint.devices import DEVICES, Device, device_named
from finetrial.store.plan_record import PlanDevice

HERE = "here"
_CGROUP_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")
_CPU_TIMES = Path("/proc/stat")
_CPU_FACTS, _CARDS = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")


def cores() -> float:
    """The cores that this process may use: its affinity, and the container's quota."""
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = _CGROUP_CPU.read_text().split()
    except (OSError, ValueError):
        return found
    return found if quota == "max" else min(found, int(quota) / int(period))


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuClock:
    """How long all processes of this machine, and this one, have kept processors busy until now."""

    processors: int
    busy_seconds: float
    own_seconds: float
    at: float

    def taken_since(self, before: CpuClock) -> float:
        """Processors that others took in the mean from what this process may use; those to spare do not count."""
        passed = max(1e-9, self.at - before.at)
        others = (self.busy_seconds - before.busy_seconds - (self.own_seconds - before.own_seconds)) / passed
        return min(cores(), max(0.0, others - (self.processors - cores())))


def cpu_clock() -> CpuClock | None:
    """As Linux counts it (proc(5), /proc/stat: user, nice, system, irq, softirq); None elsewhere."""
    try:
        lines = _CPU_TIMES.read_text().splitlines()
        user, nice, system, _, _, irq, softirq = (int(n) for n in lines[0].split()[1:8])
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    own = os.times()
    return CpuClock(
        processors=sum(re.match(r"cpu\d", line) is not None for line in lines),
        busy_seconds=(user + nice + system + irq + softirq) / ticks,
        own_seconds=own.user + own.system,
        at=time.monotonic(),
    )


def memory_bytes() -> int | None:
    """The memory that this process may use: the machine's, or the container's limit where that is less."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_MEMORY:
        try:
            return min(total, int(path.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


def disk_free_bytes(folder: Path) -> int | None:
    """What is free where `folder` stands, or will."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def cpu_name() -> str:
    """The processor's own name."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", _CPU_FACTS.read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def has_narrow_products() -> bool:
    """Whether the processor multiplies bfloat16 matrices by itself, where training at bfloat16 pays."""
    try:
        text = _CPU_FACTS.read_text()
    except OSError:
        return False
    return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", text))


def card_name() -> str | None:
    """The first NVIDIA card's own name, as its driver gives it; None where there is none."""
    try:
        texts = [path.read_text() for path in sorted(_CARDS.glob("*/information"))]
    except OSError:
        return None
    found = [match[1].strip() for text in texts if (match := re.search(r"Model:\s*(.+)", text))]
    return found[0] if found else None


def known_card(name: str) -> Device | None:
    """The row of the device table that a driver's name means: "NVIDIA H100 80GB HBM3" is h100."""
    words = re.split(r"[\s_-]+", name.lower())
    fitting = [row for row in DEVICES.values() if set(row.name.split("-")) <= set(words)]
    bare = [row for row in DEVICES.values() if row.name.split("-")[0] in words]
    found = fitting or bare
    return max(found, key=lambda row: len(row.name)) if found else None


def this_device(folder: Path) -> PlanDevice:
    """The card here where there is one that is known, else the processor."""
    card = card_name()
    free = disk_free_bytes(folder)
    if card is not None:
        row = known_card(card)
        return PlanDevice(
            name=card,
            kind="cuda",
            is_here=True,
            memory_bytes=None if row is None else row.memory_bytes,
            disk_free_bytes=free,
        )
    return PlanDevice(
        name=f"{cpu_name()}, {cores():g} cores",
        kind="cpu",
        is_here=True,
        memory_bytes=memory_bytes(),
        disk_free_bytes=free,
    )


def planned_device(name: str | None, *, folder: Path) -> tuple[PlanDevice, Device | None]:
    """The device by its name, and its row of the table where it stands there; None and `here` mean this machine.

    Raises UserError naming the devices that are known.
    """
    if name is None or name.lower() == HERE:
        found = this_device(folder)
        return found, known_card(found.name) if found.kind == "cuda" else None
    try:
        row = device_named(name)
    except Exception as error:
        raise unknown_name("device", name, (HERE, *DEVICES)) from error
    device = PlanDevice(
        name=row.name, kind="cuda", is_here=False, memory_bytes=row.memory_bytes, disk_free_bytes=None
    )
    return device, row
