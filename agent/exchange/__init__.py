"""For whoever answers from outside: prompts as files, and the one code path of CLI and MCP."""
