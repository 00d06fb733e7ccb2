"""The server itself: MCP over stdin and stdout, until the client has gone."""

from __future__ import annotations

from mcp.server import MCPServer

from kernelwright import __version__
from kernelwright.agent.mcp.service import Options, Service
from kernelwright.agent.mcp.tools import Tools
from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.agent.workspace import Workspace

GRACE_SECONDS = 1.0
"""After the client has gone, for the job in hand; clients kill a server that stays for longer than about two."""


def serve(workspace: Workspace, options: Options) -> bool:
    """Serve one client. Whether the judge was at rest at the end; if not, the process is to end at once."""
    service = Service(workspace, options)
    try:
        server: MCPServer[None] = MCPServer(
            "kernelwright",
            version=__version__,
            instructions=(PROMPTS / "mcp.md").read_text(encoding="utf-8"),
            log_level="WARNING",
        )
        Tools(service).register(server)
        server.run("stdio")  # while it serves, fd 1 is stderr for everything but the protocol
    finally:
        rested = service.close(GRACE_SECONDS)
    return rested
