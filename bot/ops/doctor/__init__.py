"""``weft doctor``: what has to be right before the bot can work, a line for each thing."""

from bot.ops.doctor.report import run_doctor

__all__ = ["run_doctor"]
