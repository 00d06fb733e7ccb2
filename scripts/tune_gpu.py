# ruff: noqa: T201
"""Tune three real architectures on a GPU with the playbook in Triton: `python scripts/tune_gpu.py OUT [llama vit conv]`.

For machines without chromadb: the playbook's attempts are judged by the ordinary judge, and no memory is kept.
Needs torch, triton, numpy, pyyaml, sqlalchemy, rich, jinja2.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from tiny_llama import Llama

from kernelwright.agent.files import write_text
from kernelwright.agent.outcome import TaskOutcome
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.tune.target import target
from kernelwright.agent.tune.tune import Options, tune
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.playbook.writer import Playbook
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.memory.records import Context
from kernelwright.tasks.records import Attempt, Idea, IdeaStage


class Encoder(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, w))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Vit(nn.Module):
    def __init__(self, width=768, heads=12, layers=6):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.position = nn.Parameter(torch.randn(196, width) * 0.02)
        self.blocks, self.norm = nn.Sequential(*(Encoder(width, heads) for _ in range(layers))), nn.LayerNorm(width)
        self.head = nn.Linear(width, 1000)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))


def conv():
    layers = []
    for i in range(6):
        layers += [nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.SiLU()]
    return nn.Sequential(*layers)


def models():
    torch.manual_seed(0)
    yield "llama", Llama(8192, 2048, 5632, 16, 4, 2048).bfloat16(), (torch.randint(0, 8192, (4, 2048)),)
    yield "vit", Vit().bfloat16(), (torch.randn(64, 3, 224, 224).bfloat16(),)
    yield "conv", conv().bfloat16(), (torch.randn(16, 3, 128, 128).bfloat16(),)


def loop(config, tasks, workspace, watch):
    """The playbook's attempts on one task, judged; the winner is left where a run leaves it."""
    (task,) = tasks
    run = f"gpu-{time.time_ns():x}"
    writer = Playbook(Setup("playbook", workspace.home, workspace.store_url, run=run))
    engine = LocalEngine("triton", config.device, workspace.cache, config.judging())
    history, best, reason = [], None, ""
    try:
        engine.admit(task)
        for number in range(1, config.budget + 1):
            stage = IdeaStage.REFINE if best else IdeaStage.DRAFT
            idea = Idea(run, task.name, number, stage, best.id if best else None, number + 1000 * config.seed)
            context = Context(start=best, history=tuple(history))
            answer = writer.write(Assignment(idea, task, "triton", engine.device(), context))
            verdict = engine.evaluate(Job(idea.id, answer.kernel, task)) if answer.kernel else None
            attempt = Attempt(idea, answer, verdict)
            writer.told(attempt)
            history.append(attempt)
            reason = verdict.reason if verdict else answer.problem
            print(f"{task.name} {number}: {attempt.status} {attempt.speedup} {reason}", flush=True)
            if attempt.feasible and (best is None or (attempt.speedup or 0) > (best.speedup or 0)):
                best = attempt
    except Exception as error:  # noqa: BLE001  one task must not cost the others their turn on the machine
        reason = f"{type(error).__name__}: {error}"
        print(f"{task.name}: {reason}", flush=True)
    finally:
        engine.close()
        writer.close()
    if best is not None:
        write_text(workspace.run(run) / "best" / task.slug / "kernel.py", best.answer.kernel.source)
    status = "solved" if best else "unsolved"
    outcome = TaskOutcome(task.name, status, len(history), best and best.id, best and best.verdict, 0.0, reason)
    return SimpleNamespace(run=SimpleNamespace(id=run), outcomes=(outcome,))


def main():
    out, wanted = Path(sys.argv[1]), sys.argv[2:] or ["llama", "vit", "conv"]
    for name, model, inputs in models():
        if name in wanted:
            config = RunConfig((), (), "triton", "playbook", device="cuda", budget=3, baselines=("eager",), timing_seconds=1)
            options = Options("cuda", total=12, threshold=0.02, out=out / name / "tuned")
            place = Workspace.at(out / name / "home", None)
            report = tune(target(name, model, inputs, "cuda"), config, options, place, Silence(), loop).report
            (out / f"{name}.json").write_text(json.dumps(report, indent=1))
            print(
                name,
                json.dumps({k: report.get(k) for k in ("numerics", "latency_ms", "speedup", "speedup_compiled")}),
                flush=True,
            )


if __name__ == "__main__":
    main()
