"""Agents in containers of a daemon of Docker or Podman; from the outside in: `engine`, `agent`, `client`, `stream`."""
