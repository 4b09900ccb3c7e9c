"""The agent side: one agent process, its JSON-RPC connection, its sessions and prompt turns.

Speaks the Agent Client Protocol, version 1, over the child's stdin and stdout. Imports nothing else of this project.
"""
