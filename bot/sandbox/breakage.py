"""The controls that the sandbox itself offers: a lost connection, a failing Discord, missing permissions.

They hit the bot alone; people go on as before.
"""

from bot.sandbox import channels
from bot.sandbox.controls import Control, ControlError, Kind
from bot.sandbox.faults import Fault, Faults
from bot.sandbox.gateway import Gateway
from bot.sandbox.model import PERMISSIONS, Channel, Overwrite
from bot.sandbox.ratelimit import Limiter, RateLimits
from bot.sandbox.state import State

CUT_SECONDS = 10.0
SLOW_SECONDS = 2.0
FAILURES = 3
_MESSAGES = r"/channels/\d+/messages$"
_MESSAGE = r"/messages/(\d+|@original)$"
_WRITING = PERMISSIONS["send_messages"] | PERMISSIONS["send_messages_in_threads"]

_CONNECTION, _DISCORD, _PLACE = "Connection", "Discord", "This place"


class Breakage:
    """Breaks things on request; the mutable state is where the bot may not write."""

    def __init__(self, state: State, gateway: Gateway, faults: Faults, limiter: Limiter) -> None:
        self._state = state
        self._gateway = gateway
        self._faults = faults
        self._limiter = limiter
        self._muted: list[int] = []

    def controls(self) -> list[Control]:
        return [*self._of_the_connection(), *self._of_discord(), *self._of_a_place()]

    # -- the connection --------------------------------------------------------------------------------------------

    def _of_the_connection(self) -> list[Control]:
        seconds = int(CUT_SECONDS)
        return [
            Control(
                "cut",
                f"Cut the bot off for {seconds} seconds",
                "What you write meanwhile is answered when it is back: Discord keeps the events.",
                _CONNECTION,
                self._cut,
            ),
            Control(
                "cut-and-forget",
                f"Cut it off for {seconds} seconds and lose the events",
                "Discord forgets the session. The bot looks through the channels for what it missed, and answers.",
                _CONNECTION,
                self._cut_and_forget,
            ),
            Control(
                "refuse-resume",
                "Let no session resume",
                "After each loss of the connection the bot has to log in anew.",
                _CONNECTION,
                self._refuse_resume,
                Kind.SWITCH,
            ),
        ]

    async def _cut(self, _on: bool | None, _channel_id: int | None) -> str:
        self._gateway.cut(CUT_SECONDS)
        return f"The bot is offline for {CUT_SECONDS:.0f} seconds. Write to it now: it answers when it is back."

    async def _cut_and_forget(self, _on: bool | None, _channel_id: int | None) -> str:
        self._gateway.cut(CUT_SECONDS, forget=True)
        seconds = f"{CUT_SECONDS:.0f} seconds"
        return f"The bot is offline for {seconds} and misses what happens. Write to it now: it finds that later."

    async def _refuse_resume(self, on: bool | None, _channel_id: int | None) -> str:
        self._gateway.refuse_resume = bool(on)
        return "The next lost connection ends the bot's session." if on else "Sessions can be resumed again."

    # -- Discord ---------------------------------------------------------------------------------------------------

    def _of_discord(self) -> list[Control]:
        return [
            Control(
                "rate-limits",
                "Discord's rate limits",
                "Five messages and five edits in five seconds for each channel, as with the real one. Off: no limits.",
                _DISCORD,
                self._limit,
                Kind.SWITCH,
                on=self._limiter.mode is not RateLimits.OFF,
            ),
            Control(
                "errors",
                f"Fail the next {FAILURES} posts and {FAILURES} edits",
                "They get an error (503). The bot tries again: nothing is lost, and nothing appears twice.",
                _DISCORD,
                self._fail,
            ),
            Control(
                "slow",
                "Slow Discord",
                f"Every request of the bot takes {SLOW_SECONDS:.0f} seconds longer, so answers grow in larger steps.",
                _DISCORD,
                self._slow_down,
                Kind.SWITCH,
            ),
        ]

    async def _limit(self, on: bool | None, _channel_id: int | None) -> str:
        self._limiter.mode = RateLimits.REAL if on else RateLimits.OFF
        return "Discord's limits hold." if on else "There are no limits now."

    async def _fail(self, _on: bool | None, _channel_id: int | None) -> str:
        # 503 and not 500: that one discord.py repeats by itself, and the bot would have nothing to show.
        self._faults.next("POST", _MESSAGES, Fault.html(503), FAILURES)
        self._faults.next("PATCH", _MESSAGE, Fault.html(503), FAILURES)
        return f"Its next {FAILURES} posts and {FAILURES} edits fail. Write to it: the answer comes all the same."

    async def _slow_down(self, on: bool | None, _channel_id: int | None) -> str:
        self._faults.slow_seconds = SLOW_SECONDS if on else 0.0
        return "Discord is slow to the bot now." if on else "Discord is quick again."

    # -- the place that is open ------------------------------------------------------------------------------------

    def _of_a_place(self) -> list[Control]:
        return [
            Control(
                "mute",
                "Forbid the bot to write here",
                "It loses the permission in this channel and its threads. Requests end with ⏹️, as it can say nothing.",
                _PLACE,
                self._mute,
                Kind.SWITCH,
            ),
            Control(
                "archive",
                "Archive this thread",
                "The thread is closed, as after a day of silence. Write in it, and it opens again.",
                _PLACE,
                self._archive,
            ),
            Control(
                "delete-thread",
                "Delete this thread",
                "The thread and its messages are gone for good. The bot ends what ran there.",
                _PLACE,
                self._delete,
            ),
        ]

    async def _mute(self, on: bool | None, channel_id: int | None) -> str:
        if on:
            place = self._place(channel_id)
            # Threads have no overwrites of their own.
            channel = self._state.channel(place.parent_id) if place.is_thread and place.parent_id else place
            if not channel.in_guild:
                raise ControlError("Nobody can forbid it in direct messages. Open a channel first.")
            self._muted.append(channel.id)
            self._forbid(channel, deny=_WRITING)
            return f"The bot may not write in #{channel.name} any more."
        # One that was deleted meanwhile needs nothing given back.
        for channel in [found for one in self._muted if (found := self._state.channels.get(one))]:
            self._forbid(channel, deny=0)
        self._muted.clear()
        return "The bot may write everywhere again."

    def _forbid(self, channel: Channel, *, deny: int) -> None:
        bits = channel.overwrites.get(self._state.bot.id, Overwrite())
        # The other bits stay: somebody may have forbidden more than this control does.
        changed = Overwrite(bits.allow, bits.deny & ~_WRITING | deny)
        channels.overwrite(self._state, channel, self._state.bot.id, changed)

    async def _archive(self, _on: bool | None, channel_id: int | None) -> str:
        thread = self._thread(channel_id)
        channels.set_archived(self._state, thread, archived=True, locked=thread.locked)
        return f"“{thread.name}” is archived. Write in it, and it opens again."

    async def _delete(self, _on: bool | None, channel_id: int | None) -> str:
        thread = self._thread(channel_id)
        channels.delete(self._state, thread)
        return f"“{thread.name}” is deleted."

    def _place(self, channel_id: int | None) -> Channel:
        place = self._state.channels.get(channel_id or 0)
        if place is None:
            raise ControlError("Open a channel or a thread first.")
        return place

    def _thread(self, channel_id: int | None) -> Channel:
        place = self._place(channel_id)
        if not place.is_thread:
            raise ControlError("This is not a thread. Open one first.")
        return place
