"""The MCP server that each session gets: what agents can do in Discord (M1, M2)."""
