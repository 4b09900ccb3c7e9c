"""The agent's own commands: which there are, and what is to be sent to run one (K3)."""
