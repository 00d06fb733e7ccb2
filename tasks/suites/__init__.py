"""Public suites, read from a user's own clone: one adapter a file, named here so that none is imported unasked."""

SUITES = {
    "kernelbench": "kernelwright.tasks.suites.kernelbench:KernelBench",
    "kernelbench-hard": "kernelwright.tasks.suites.kernelbench_hard:KernelBenchHard",
    "multikernelbench": "kernelwright.tasks.suites.multikernelbench:MultiKernelBench",
    "robust-kbench": "kernelwright.tasks.suites.robust_kbench:RobustKBench",
    "npukernelbench": "kernelwright.tasks.suites.npukernelbench:NpuKernelBench",
    "gpumode": "kernelwright.tasks.suites.gpumode:GpuMode",
    "flashinfer-trace": "kernelwright.tasks.suites.flashinfer_trace:FlashinferTrace",
    "sol-execbench": "kernelwright.tasks.suites.sol_execbench:SolExecBench",
    "mskernelbench": "kernelwright.tasks.suites.mskernelbench:MsKernelBench",
    "hpctranscompile": "kernelwright.tasks.suites.hpctranscompile:HpcTransCompile",
    "tritonbench": "kernelwright.tasks.suites.tritonbench:TritonBench",
}
