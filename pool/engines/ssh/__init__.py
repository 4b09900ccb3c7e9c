"""Agents as processes of hosts that ssh reaches; from the outside in: `engine`, `agent`, `hosts`, `client`."""
