"""Search policies: what to try next. Ask/tell; they never call a model, an evaluator or a clock."""

POLICIES = {
    "evokernel": "kernelwright.agent.policies.evokernel:EvoKernel",
    "greedy": "kernelwright.agent.policies.greedy:Greedy",
    "recorded": "kernelwright.agent.policies.recorded:Recorded",
}
"""Short name -> ``module:Class``; a class takes ``(Search, Values)``."""
