"""Writers: who turns an idea into a kernel. The playbook needs no model."""

WRITERS = {
    "playbook": "kernelwright.agent.writers.playbook:Playbook",
    "exchange": "kernelwright.agent.writers.exchange:Exchange",
    "replay": "kernelwright.agent.writers.replay:Replay",
    "litellm": "kernelwright.agent.writers.litellm:Litellm",
}
"""Short name -> ``module:Class``; a class takes a :class:`~kernelwright.agent.writers.writer.Setup`."""
