"""A Discord of one guild on the loopback: REST v10 and the gateway, for tests, the demo and playing by hand.

It serves the unmodified discord.py over real sockets and is strict where Discord is strict. It imports nothing of the
rest of the bot and knows nothing of agents.
"""

from bot.sandbox.audit import Problem
from bot.sandbox.controls import Control, ControlError, Kind
from bot.sandbox.errors import DiscordError
from bot.sandbox.faults import Fault, delay, html, rate_limited, status
from bot.sandbox.interactions import CallbackType, Interaction
from bot.sandbox.model import Attachment, Channel, ChannelType, Message, RestCall
from bot.sandbox.people import Person
from bot.sandbox.ratelimit import RateLimits
from bot.sandbox.server import FakeDiscord

__all__ = [
    "Attachment",
    "CallbackType",
    "Channel",
    "ChannelType",
    "Control",
    "ControlError",
    "DiscordError",
    "FakeDiscord",
    "Fault",
    "Interaction",
    "Kind",
    "Message",
    "Person",
    "Problem",
    "RateLimits",
    "RestCall",
    "delay",
    "html",
    "rate_limited",
    "status",
]
