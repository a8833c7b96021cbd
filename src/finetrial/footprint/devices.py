"""List devices by name: memory, rate of matrix products, bandwidth, power; with the source of each row.

Rates are the makers' for dense products at bfloat16 with float32 sums (float16 where a card has no bfloat16). What
a training step reaches of them is `STEP_SHARE`.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.errors import unknown_name

GB, GIB = 10**9, 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    name: str
    memory_bytes: int  # as a program sees it, less what the driver keeps where that is known
    matrix_flops: float  # a second, dense
    bandwidth: float  # bytes a second
    watts: float
    capability: tuple[int, int] | None  # of a CUDA card
    source: str
    link: float  # bytes a second that a card sends to the others of its machine, in one direction
    link_source: str

    @property
    def is_hopper(self) -> bool:
        return self.capability is not None and self.capability[0] == 9

    @property
    def has_bfloat16(self) -> bool:
        return self.capability is None or self.capability >= (8, 0)


# Useful FLOPs of a whole training step over the makers' rate. Measured on an H200 (989 TFLOP/s): finetrial's LoRA
# 304 TFLOP/s and full tuning 358 at a 1B shape, which is 31 and 36 %. For other cards an assumption.
STEP_SHARE = 0.33
# Of the makers' bandwidth, what copying reaches: 4.3 of 4.8 TB/s on the same card. For other cards an assumption.
BANDWIDTH_SHARE = 0.9
# Of the makers' link rate, what collective operations reach. Assumption
LINK_SHARE = 0.7


def _card(
    name: str,
    memory_gib: float,
    teraflops: float,
    gigabytes: float,
    watts: float,
    capability: tuple[int, int] | None,
    source: str,
    link: tuple[float, str],
) -> Device:
    return Device(
        name=name,
        memory_bytes=round(memory_gib * GIB),
        matrix_flops=teraflops * 1e12,
        bandwidth=gigabytes * 1e9,
        watts=watts,
        capability=capability,
        source=source,
        link=link[0] * 1e9,
        link_source=link[1],
    )


# Gigabytes a second in one direction: half of the rate in both that the data sheets name
_PCIE3, _PCIE4, _PCIE5 = (16, "PCIe 3.0 x16"), (32, "PCIe 4.0 x16"), (64, "PCIe 5.0 x16")
_NVLINK2, _NVLINK3 = (150, "NVLink, NVIDIA V100 datasheet"), (300, "NVLink, NVIDIA A100 datasheet")
_NVLINK4, _NVLINK5 = (450, "NVLink, NVIDIA H100 datasheet"), (900, "NVLink, NVIDIA DGX B200 datasheet")
_INFINITY = (448, "Infinity Fabric, AMD Instinct MI300X data sheet")

_ROWS = (
    _card("v100-32gb", 32, 125, 900, 300, (7, 0), "NVIDIA V100 datasheet (SXM2; float16)", _NVLINK2),
    _card("t4", 15, 65, 320, 70, (7, 5), "NVIDIA T4 datasheet (float16); 15 GiB with ECC on", _PCIE3),
    _card("a10", 22.5, 125, 600, 150, (8, 6), "NVIDIA A10 datasheet; 22.5 GiB with ECC on", _PCIE4),
    _card("a30", 24, 165, 933, 165, (8, 0), "NVIDIA A30 datasheet", _PCIE4),
    _card("a40", 45, 149.7, 696, 300, (8, 6), "NVIDIA A40 datasheet; 45 GiB with ECC on", _PCIE4),
    _card("a100-40gb", 40, 312, 1555, 400, (8, 0), "NVIDIA A100 datasheet (SXM)", _NVLINK3),
    _card("a100-80gb", 80, 312, 2039, 400, (8, 0), "NVIDIA A100 datasheet (SXM)", _NVLINK3),
    _card("rtx-3090", 24, 71, 936, 350, (8, 6), "NVIDIA GA102 whitepaper, float32 sums", _PCIE4),
    _card("rtx-a6000", 48, 154.8, 768, 300, (8, 6), "NVIDIA RTX A6000 datasheet, half of the sparse rate", _PCIE4),
    _card(
        "l4",
        22.5,
        121,
        300,
        72,
        (8, 9),
        "NVIDIA L4 datasheet, half of the sparse rate; 22.5 GiB with ECC on",
        _PCIE4,
    ),
    _card("l40s", 45, 362, 864, 350, (8, 9), "NVIDIA L40S datasheet; 45 GiB with ECC on", _PCIE4),
    _card("rtx-4080", 16, 97.5, 717, 320, (8, 9), "NVIDIA Ada whitepaper, float32 sums", _PCIE4),
    _card("rtx-4090", 24, 165.2, 1008, 450, (8, 9), "NVIDIA Ada whitepaper, float32 sums", _PCIE4),
    _card("rtx-5090", 32, 209.5, 1792, 575, (12, 0), "NVIDIA RTX Blackwell whitepaper, float32 sums", _PCIE5),
    _card("h100-pcie", 80, 756, 2000, 350, (9, 0), "NVIDIA H100 datasheet, half of the sparse rate", _PCIE5),
    _card("h100", 80, 989.4, 3350, 700, (9, 0), "NVIDIA H100 datasheet (SXM), half of the sparse rate", _NVLINK4),
    _card("h200", 140, 989.4, 4800, 700, (9, 0), "NVIDIA H200 datasheet (SXM); 141 GB, seen as 140 GiB", _NVLINK4),
    _card(
        "b200",
        178,
        2250,
        8000,
        1000,
        (10, 0),
        "NVIDIA DGX B200 datasheet, an eighth, half of the sparse rate",
        _NVLINK5,
    ),
    _card("mi300x", 192, 1307.4, 5300, 750, None, "AMD Instinct MI300X data sheet", _INFINITY),
)
DEVICES: dict[str, Device] = {row.name: row for row in _ROWS}


def device_named(name: str) -> Device:
    """The device of that name, in any case. Raises UserError naming the ones that are known."""
    wanted = name.lower().replace(" ", "-").replace("_", "-").removeprefix("nvidia-")
    if wanted not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    return DEVICES[wanted]
