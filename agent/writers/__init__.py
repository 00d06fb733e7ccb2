"""Writers: who turns an idea into a kernel. The playbook needs no model."""

WRITERS = {
    "playbook": "kernelwright.agent.writers.playbook:Playbook",
    "exchange": "kernelwright.agent.writers.exchange:Exchange",
    "replay": "kernelwright.agent.writers.replay:Replay",
    "llm": "kernelwright.agent.writers.llm:LlmWriter",
    "submitted": "kernelwright.agent.bench.solutions:Submitted",
}
"""Short name -> ``module:Class``; a class takes a :class:`~kernelwright.agent.writers.writer.Setup`."""

UNTEACHABLE = frozenset({"playbook", "submitted"})
"""Writers that read no feedback: what they had rejected is not given to them for repair, they write something else."""
