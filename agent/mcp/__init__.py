"""The MCP server: an optimisation driven by a coding agent, with the judge kept warm between its calls."""
