"""Agents as pods of a cluster; from the outside in: `engine`, `start`, `agent`, `watch`, `attach`, `api`."""
