"""How thorough a judging is. The defaults are the protocol's; the CLI only merges."""

from __future__ import annotations

from dataclasses import dataclass, replace

BASELINES = ("eager", "compile", "max-autotune")
"""The ladder: eager, torch.compile, torch.compile in the mode max-autotune-no-cudagraphs."""

THOROUGH_SECONDS = {"cpu": 5.0, "cuda": 20.0, "tpu": 20.0, "npu": 20.0}
"""Cap on the timing of one case where a winner is audited. The stop rule ends it earlier where intervals are narrow, as on a
quiet GPU. On shared cores they never are, so that each audit takes all of it: with 8 s the quickstart took 311 s on two busy
cores, and it is to take at most 300. There the figures come from three processes of some 12 blocks each, not from 30 in each.
"""

COMPILED_FOR = ("sm_90", "sm_80", "sm_100", "gfx942", "gfx950")
SANDBOXES = ("auto", "strict", "off")
PROFILES = ("auto", "off")


@dataclass(frozen=True)
class Settings:
    """Limits and repetitions of one judging."""

    rtol: float | None = None
    """Overrides every default tolerance, and is shown with every figure."""
    min_blocks: int = 12
    """Interleaved blocks before the stop rule is asked."""
    max_blocks: int = 200
    half_width: float = 0.01
    """Stop when the speedup's interval is this narrow (half width over median)."""
    timing_seconds: float = 3.0
    """Cap on the interleaved blocks of one timing case and dtype."""
    thorough_blocks: int = 30
    """``min_blocks`` of a thorough judging, the protocol's."""
    thorough_seconds: float | None = None
    """``timing_seconds`` of a thorough judging; None: :data:`THOROUGH_SECONDS` of the device."""
    baselines: tuple[str, ...] | None = None
    """Names of the ladder; None: eager and compile, and max-autotune on a GPU."""
    smoke_seconds: float = 30.0
    call_seconds: float = 60.0
    """Wall-clock limit of one request to a runner: a call, or a batch of timed calls."""
    compile_seconds: float = 300.0
    """Wall-clock limit of making a baseline ready."""
    memory_bytes: int = 8 << 30
    """Address space a CPU candidate may take beyond what its runner maps at start."""
    timing: bool = True
    screen: bool = True
    """False: the screen's text rules are recorded and decide nothing; the self-test asks what other layers catch."""
    sanitize: str = "auto"
    """``auto``: native kernels on the CPU and interpreted Triton always, GPU kernels only when a winner is audited;
    ``all``: GPU kernels in every judging too; ``off``."""
    record: bool = False
    """Keep secret seeds, hashes and raw readings in the verdict's evidence (``record``), for those who judge again. Takes some
    milliseconds a draw and some 100 kB a verdict, so the search does without."""
    stranger: bool = False
    """The task comes from somebody else: its reference is confined like a kernel."""
    profile: str = "off"
    """``auto``: on a GPU with ``ncu`` and the right to use it, one call of each passed kernel is profiled; ``off``. It takes
    some seconds, is for prompts only, and no verdict depends on it: runs ask for it whose writer is told of it."""
    compile_for: tuple[str, ...] = ("sm_90",)
    """GPUs that Triton kernels are compiled for where there is none, of :data:`COMPILED_FOR`; the first one's word is a hint to
    writers. Evidence: no verdict depends on it."""
    sandbox: str = "auto"
    """``auto``: every layer that works here; ``strict``: refuse to judge when one is missing; ``off``: a bare process."""

    def thorough(self, kind: str) -> Settings:
        """How a kernel is judged that is to be quoted: all sanitizers (unless ``off``), more timing, a record, no profile,
        every GPU to compile for.

        ``kind`` of device: ``cpu``, ``cuda``, ``tpu`` or ``npu``. Never less than these settings themselves ask for.
        """
        seconds = THOROUGH_SECONDS[kind] if self.thorough_seconds is None else self.thorough_seconds
        return replace(
            self,
            sanitize="off" if self.sanitize == "off" else "all",
            profile="off",
            record=True,
            compile_for=(*self.compile_for, *(gpu for gpu in COMPILED_FOR if gpu not in self.compile_for)),
            min_blocks=max(self.min_blocks, self.thorough_blocks),
            max_blocks=max(self.max_blocks, self.thorough_blocks),
            timing_seconds=max(self.timing_seconds, seconds),
        )
