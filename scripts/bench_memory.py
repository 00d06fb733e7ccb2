"""Time recall from a large memory (design §10: p95 ≤ 30 ms from 100,000 experiences); prints one JSON object.

Synthetic experiences: tasks of 24 operators in 8 forms, kernels with strategies in 40 words, drafts and refinements, with
values for a third of them. Measured are whole recalls (drafts and refinements, over a budget of 30), the embedding of the
query alone, and recalls where whole operators are excluded, the nearest ones among them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kernelwright.memory import experiences, recall
from kernelwright.memory.embed import embed
from kernelwright.memory.memory import Memory, Settings, open_memory
from kernelwright.memory.records import Context, Experience, RunRecord
from kernelwright.memory.values import Change, update
from kernelwright.tasks.records import Idea, IdeaStage, ShapeCase, Task, Use, digest

OPERATORS = (
    *("softmax", "log_softmax", "rms_norm", "layer_norm", "batch_norm", "group_norm", "matmul", "batched_matmul"),
    *("conv1d", "conv2d", "depthwise_conv", "max_pool", "avg_pool", "cross_entropy", "mse_loss", "huber_loss"),
    *("cumsum", "argmax", "gather", "scatter_add", "gelu", "swiglu", "attention", "embedding"),
)
FORMS = ("rows", "columns", "long rows", "many small rows", "half precision", "with bias", "strided", "fused with relu")
_WORDS = (
    "vector loads one pass two passes registers shared memory tiles split reduction warp shuffle online maximum unrolled inner "
    "loop prefetch double buffering persistent blocks atomic combine recompute exp2 fused epilogue streaming stores software "
    "pipelining swizzled layout padded rows grid stride occupancy spills mask tail"
)
WORDS = _WORDS.split()


def task(number: int) -> Task:
    operator, form = OPERATORS[number % len(OPERATORS)], FORMS[number // len(OPERATORS) % len(FORMS)]
    source = f"class Model:\n    def forward(self, x):\n        return torch.{operator}(x)  # {form}\n"
    name = f"bench/{operator}/{form.replace(' ', '_')}_{number // (len(OPERATORS) * len(FORMS))}"
    cases = (ShapeCase("small", Use.CORRECTNESS, {"N": 8 + number}),)
    return Task(name, source, f"{name}.py", cases, category=operator, family=operator, summary=f"{operator} over {form}")


def fill(memory: Memory, count: int, draw: random.Random) -> None:
    """``count`` experiences in the store, half traces and half lessons, and values for a third of them."""
    kinds, done = itertools.cycle(("trace", "success", "trace", "failure")), 0
    while done < count:
        with memory.store.begin() as tx:
            for number in range(done, min(done + 2000, count)):
                of, kind = task(number % 384), next(kinds)
                status, stage = ("incorrect" if kind == "failure" else "passed"), draw.choice(("draft", "refine"))
                said = " ".join(draw.sample(WORDS, 9))
                lesson = f"{of.family} in cpp on a device: a {stage} {status}. Strategy: {said}. Word {number:x}w."
                text = f"{of.family} {of.category} {of.summary} cpp {stage} {status} memory bound {lesson}"
                limit = draw.choice(("memory", "compute", "latency"))
                code = f"// {said}\nvoid f{number}();" if kind == "trace" else ""
                speed = None if kind == "failure" else 1 + draw.random()
                new = Experience(
                    f"e{number:06d}", kind, stage, "cpp", "d", of.family, of.name, text, code, lesson, status, limit, speed, ()
                )
                experiences.insert(tx, [new], digest(str(number)), "run:bench", memory.store.artifacts)
                if number % 3 == 0:
                    update(tx, Change(stage, "cpp", of.family, (new.id,), draw.uniform(-1, 1)), 0.3)
        done += 2000


def timed(memory: Memory, run: str, recalls: int) -> list[float]:
    """Seconds of each recall; every one must fill its places."""
    took = []
    for number in range(recalls):
        of = task(number % 384)
        idea = Idea(run, of.name, number % 30 + 1, IdeaStage.DRAFT, None, number)
        began = time.perf_counter()
        context: Context = memory.recall(idea, of, "cpp")
        took.append(time.perf_counter() - began)
        if len(context.items) != memory.settings.places:
            raise SystemExit(f"recall {number} found {len(context.items)} items")
    return took


def figures(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: median, 95th percentile, largest."""
    ranked = sorted(1e3 * s for s in seconds)
    return {name: round(ranked[int(q * (len(ranked) - 1))], 2) for name, q in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--experiences", type=int, default=100_000)
    parser.add_argument("--recalls", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="a folder for the memory; used again where it is full already")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        home = given.keep or Path(folder)
        json.dump(measure(home, given.experiences, given.recalls), sys.stdout, indent=1)
        sys.stdout.write("\n")


def measure(home: Path, count: int, recalls: int) -> dict[str, object]:
    settings, took = Settings(capacity=10_000_000), {}
    memory = open_memory(home, None, settings)
    if not memory.store.runs():
        memory.store.create_run(RunRecord("bench", {"budget": 30}, "running", "", tuple(map(task, range(384)))))
        began = time.perf_counter()
        fill(memory, count, random.Random(1))
        took["fill_s"] = round(time.perf_counter() - began, 1)
    began = time.perf_counter()
    memory.search("softmax")
    took["open_and_index_s"] = round(time.perf_counter() - began, 1)
    texts = [recall.query_text(Idea("bench", task(n).name, 1, IdeaStage.DRAFT), task(n), "cpp", None, ()) for n in range(200)]
    embedding = []
    for text in texts:
        began = time.perf_counter()
        embed([text])
        embedding.append(time.perf_counter() - began)
    timed(memory, "bench", 20)  # warm-up
    result: dict[str, object] = {"recall_ms": figures(timed(memory, "bench", recalls)), "embedding_ms": figures(embedding)}
    held = memory.stats()
    memory.close()
    for share in (1, 6, 12):
        names = tuple({task(n).name for n in range(384) if n % len(OPERATORS) < share})
        apart = open_memory(home, None, settings, exclude=names)
        timed(apart, "bench", 20)
        result[f"recall_without_{share}_of_24_operators_ms"] = figures(timed(apart, "bench", recalls))
        apart.close()
    began = time.perf_counter()
    again = open_memory(home, None, settings)
    again.search("softmax")
    took["open_again_s"] = round(time.perf_counter() - began, 2)
    again.close()
    return {"experiences": held.experiences, "indexed": held.indexed, "recalls": recalls, **result, **took}


if __name__ == "__main__":
    main()
