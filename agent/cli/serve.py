"""``kernelwright serve``: look at runs and memory in a browser."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from kernelwright.agent.cli.interrupt import Interrupt
from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output

app = verb()


@app.command(epilog=example("kernelwright serve\nkernelwright serve --port 9000 --home runs"))
def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where; default: to this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 8321,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Serve read-only pages of all runs and of memory until Ctrl-C: attempts, graphs, kernels, exact prompts, evidence.

    The address is printed on stderr. With --json one object is printed at the end.
    """
    from kernelwright.agent.serve.server import Server, is_loopback

    server = Server(workspace(home, store), host, port)
    if not is_loopback(host):
        sys.stderr.write(
            f"warning: {host} can be reached by other machines, and there is no password: whoever reaches it reads every "
            "kernel, prompt and lesson; an ssh tunnel to 127.0.0.1 is safer\n"
        )
    try:
        with Interrupt(quiet=True) as interrupt:
            server.start()
            sys.stderr.write(f"serving {server.url} (read-only; Ctrl-C ends it)\n")
            sys.stderr.flush()
            while not interrupt.asked:
                time.sleep(0.1)
    finally:
        server.close()
    data = {"url": server.url, "requests": server.requests}
    text = f"{server.requests} {'request' if server.requests == 1 else 'requests'} answered"
    return Output({"serve": data}, lambda console: console.print(text, markup=False, highlight=False))
