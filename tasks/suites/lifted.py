"""A reference in our convention around TritonBench's function, test and benchmark of an operator.

Inputs are what the test or the benchmark calls the function with: both are executed by ``get_inputs``, in the judge's process
of the reference, with a stand-in for the function that keeps the arguments of one call. Nothing is executed here.
"""

from __future__ import annotations

from kernelwright.tasks.suites.lifting import NOT_ASKED, SIZE, Benchmark, Operator, Test
from kernelwright.tasks.suites.table import Table
from kernelwright.tasks.suites.text import devices_as

_SOURCE = '''{function}


class Model(torch.nn.Module):
    """TritonBench-T's {name}."""

    def forward(self, {parameters}):
        return {name}({arguments})


# The case, replaced for each: a call of the test below, or at 0 a size of the benchmark.
{table}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Taken(BaseException):
    """Not an error: carries the arguments of the wanted call to get_inputs, past any handler of the test."""


class StandIn:
    """Calls the function, up to the wanted call."""

    def __init__(self):
        self.left = 0

    def __call__(self, *arguments, **keywords):
        import inspect

        self.left -= 1
        if self.left:
            try:
                return {name}(*arguments, **keywords)
            except (RuntimeError, ValueError):
                return None  # not the call that is asked for
        given = inspect.signature({name}).bind(*arguments, **keywords)
        given.apply_defaults()
        raise Taken([value for key, value in given.arguments.items() if key not in {not_asked}])


stand_in = StandIn()

{test}


class Performance_Metrics:
    def __init__(self, op_name, dtype=None, is_backward=False, **kwargs):
        self.op_name, self.dtype, self.kwargs, self.input_tensors = op_name, dtype, kwargs, []


{benchmark}


def arguments_of(run, count):
    stand_in.left = count
    try:
        run()
    except Taken as taken:
        return taken.args[0]
    raise RuntimeError("there is no such call")


def varied(value, again):
    """Literal tensors: integers in another order, others up to a tenth smaller; flags (-1, 0, 1) as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(varied, value, again))
    if not isinstance(value, torch.Tensor) or not torch.equal(value, again):
        return value
    if not (value.is_floating_point() or value.is_complex()):
        return value.flatten()[torch.randperm(value.numel(), device=value.device)].reshape(value.shape)
    parts = torch.view_as_real(value) if value.is_complex() else value
    if ((parts == 0) | (parts.abs() == 1)).all():
        return value
    return value.detach() * (1 - 0.1 * torch.rand(value.shape, device=value.device)).to(value.dtype)


def get_inputs():
    global DEVICE
    DEVICE = torch.empty(0).device.type
    if {call}:
        return list(map(varied, arguments_of({run}, {call}), arguments_of({run}, {call})))
    upstream = performance_metrics()
    upstream.get_input_tensors()
    return arguments_of(lambda: upstream.call_op(upstream.input_tensors[-1]), 1)


def get_init_inputs():
    return []
'''


def reference(operator: Operator, test: Test, benchmark: Benchmark, table: Table) -> str:
    """The reference's text."""
    size = table.names["benchmark_size"]
    sized = benchmark.text if size == SIZE else benchmark.text.replace(f"[{SIZE}]", f"[{size}]", 1)
    return _SOURCE.format(
        function=devices_as(operator.text.strip(), "DEVICE"),
        name=operator.name,
        parameters=", ".join(operator.parameters),
        arguments=operator.arguments(),
        not_asked=sorted(NOT_ASKED),
        table=table.text,
        test=devices_as(test.text, "DEVICE"),
        benchmark=devices_as(sized, "DEVICE"),
        run=test.name,
        call=table.names["test_call"],
    )
