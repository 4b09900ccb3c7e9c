"""Discord, scheduling, rendering and operations; the composition root. Imports ``acp`` and ``pool``."""
