"""Search policies: what to try next. Ask/tell; they never call a model, an evaluator or a clock."""

POLICIES = {
    "evokernel": "kernelwright.agent.policies.evokernel:EvoKernel",
    "greedy": "kernelwright.agent.policies.greedy:Greedy",
    "beam": "kernelwright.agent.policies.beam:Beam",
    "mcts": "kernelwright.agent.policies.mcts:Mcts",
    "evolve": "kernelwright.agent.policies.evolve:Evolve",
    "recorded": "kernelwright.agent.policies.recorded:Recorded",
}
"""Short name -> ``module:Class``; a class takes ``(Search, Values)``."""
