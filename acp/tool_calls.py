"""The tool calls of a turn, from what the agents' ways of reporting them have in common (pure).

A tool call is created by whatever names it first: an announcement, an update or a permission request; or by us, where
the agent calls a tool of ours. The mutable state is the table of tool calls, each of which keeps its last `ToolState`
until something about it changes, and which calls of ours the agent has not reported itself.
"""

from __future__ import annotations

from typing import Any

from acp.schema import ContentBlock, ToolCall, ToolCallUpdate
from acp.snapshot import Diff, Location, ToolState
from acp.truncation import BoundedOutput, bounded, bounded_value

_MOST_LOCATIONS = 100
_LONGEST_TITLE = 4_096
_OWN_SERVER = "weft"
_OWN_TITLE = 200
_MOST_UNPAIRED = 20
"""Calls of tools of ours that the agent may still report itself, the latest ones."""


def block_text(block: ContentBlock) -> str:
    """Return what a content block says: its text, a link to what it names, or a word for what can't be shown."""
    if block.text is not None:
        return block.text
    if block.resource is not None:
        text = block.resource.get("text")
        return text if isinstance(text, str) else f"[{block.resource.get('uri', 'resource')}]"
    if block.type == "resource_link" and block.uri:
        return f"[{block.name or block.uri}]({block.uri})"
    return f"[{block.type}]" if block.type in ("image", "audio") else ""


class ToolCalls:
    """The tool calls of one turn, in the order in which they were first named.

    Args:
        most: tool calls to keep; `cut` counts those beyond.
        head, tail: bytes of a tool's output to keep.
    """

    def __init__(self, most: int, head: int, tail: int) -> None:
        self._most = most
        self._limits = (head, tail)
        self._calls: dict[str, _Call] = {}
        self._beyond: set[str] = set()
        self._states: tuple[ToolState, ...] | None = ()
        self._unpaired: list[str] = []
        self._own = 0

    @property
    def cut(self) -> int:
        """Tool calls that are not kept."""
        return len(self._beyond)

    def merge(self, update: ToolCallUpdate, *, asked: bool = False) -> bool:
        """Take news of a tool call, ``asked`` with a permission request; True if it was not known before."""
        call_id = update.tool_call_id
        call = self._calls.get(call_id)
        new = call is None
        if call is None and len(self._calls) >= self._most:
            new = call_id not in self._beyond
            if new and len(self._beyond) < 100 * self._most:  # a count that says enough, in bounded memory
                self._beyond.add(call_id)
            return new
        if call is None:
            call = self._calls[call_id] = _Call(call_id, *self._limits)
        call.apply(update)
        call.asked = call.asked or asked
        if self._unpaired and not call.stands_for:
            called = next((tool for tool in self._unpaired if call.reports(tool)), "")
            if called:
                self._unpaired.remove(called)
                call.stands_for = called
        self._states = None
        return new

    def begin_own(self, tool: str, title: str) -> str | None:
        """Take note that the agent calls a tool of ours; return the call's id, None if there are too many calls.

        Agents report such calls, too, in their own words and in their own time: one report of each is not shown.
        """
        if len(self._calls) >= self._most:
            return None
        self._own += 1
        call_id = f"own {self._own}"
        # By what it is called alone, and one for one: an agent that names other calls like ours hides none of them.
        report = next((one for one in self._calls.values() if one.reports(tool) and not one.stands_for), None)
        if report is not None:
            report.stands_for = tool
        else:
            self._unpaired = [*self._unpaired, tool][-_MOST_UNPAIRED:]
        # Under a key that no id of the agent's can be.
        call = self._calls[f"\0{call_id}"] = _Call(call_id, *self._limits)
        call.apply(ToolCallUpdate(tool_call_id=call_id, title=title, status="in_progress"))
        self._states = None
        return call_id

    def end_own(self, call_id: str, *, failed: bool) -> None:
        """Take note of the end of a call of a tool of ours."""
        status = "failed" if failed else "completed"
        self._calls[f"\0{call_id}"].apply(ToolCallUpdate(tool_call_id=call_id, status=status))
        self._states = None

    def decide(self, call_id: str, *, rejected: bool) -> None:
        """Take note of whether a tool call was allowed when its agent last asked."""
        call = self._calls.get(call_id)
        if call is not None and call.rejected != rejected:
            call.rejected, call.shown = rejected, None
            self._states = None

    def states(self) -> tuple[ToolState, ...]:
        """Return all tool calls; those without news since the last time are the same objects."""
        if self._states is None:
            self._states = tuple([call.state() for call in self._calls.values() if not call.shown_as_ours])
        return self._states


class _Call:
    """One tool call. Agents report output in four ways; the first that has any counts (T4).

    Attributes:
        shown: what it looks like, None once something has changed.
        stands_for: the tool of ours whose call it reports, which is shown in its place.
    """

    def __init__(self, call_id: str, head: int, tail: int) -> None:
        self.asked = False
        self.rejected = False
        self.stands_for = ""
        self.shown: ToolState | None = None
        self._id = call_id
        self._limits = (head, tail)
        self._title = ""
        self._kind = "other"
        self._status = "pending"
        self._locations: tuple[Location, ...] = ()
        self._input: Any = None
        self._diffs: tuple[Diff, ...] = ()
        self._diffs_cut = 0
        self._content: tuple[str, int] = ("", 0)
        self._terminal: BoundedOutput | None = None
        self._response: tuple[str, int] = ("", 0)
        self._raw: tuple[str, int] = ("", 0)

    def apply(self, update: ToolCallUpdate) -> None:
        """Merge an update; absent fields are unchanged."""
        self.shown = None
        # A title or a kind is never taken back: agents send updates with empty ones.
        self._title = (update.title or self._title)[:_LONGEST_TITLE]
        self._kind = update.kind or self._kind
        self._status = update.status or self._status
        if update.locations is not None:
            self._locations = tuple([Location(at.path, at.line) for at in update.locations[:_MOST_LOCATIONS]])
        if update.raw_input is not None:
            self._input = bounded_value(update.raw_input)
        if raw := _raw_text(update.raw_output):
            self._raw = bounded(raw, *self._limits)
        # Content is a snapshot: agents send the output so far again and again. One that ends with an empty list has
        # nothing to add; what was shown stays.
        if update.content:
            texts = [block_text(item.content) for item in update.content if item.type == "content" and item.content]
            self._content = bounded("\n".join([text for text in texts if text]), *self._limits)
            diffs = [item for item in update.content if item.type == "diff" and item.path and item.new_text is not None]
            room, kept = sum(self._limits), []
            for item in diffs:
                # A diff is kept whole or not at all: half of one would show a change that nobody makes.
                room -= len(item.new_text or "") + len(item.old_text or "")
                if room >= 0:
                    kept.append(Diff(item.path or "", item.old_text, item.new_text or ""))
            self._diffs, self._diffs_cut = tuple(kept), len(diffs) - len(kept)
        # These are extensions of single agents: a delta adds to what came before, a response replaces it.
        delta = _field(update.meta, "terminal_output_delta", "data")
        if isinstance(delta, str):
            if self._terminal is None:
                self._terminal = BoundedOutput(*self._limits)
            self._terminal.append(delta)
        response = _field(update.meta, "claudeCode", "toolResponse")
        printed = [_field(response, name) for name in ("stdout", "stderr")]
        if text := "\n".join([part for part in printed if isinstance(part, str) and part]):
            self._response = bounded(text, *self._limits)

    def reports(self, tool: str) -> bool:
        """Whether it looks like the agent's report of a call of a tool of ours, which it is allowed to make."""
        # ``mcp__weft__ask``, ``weft.ask``, ``weft_ask``, ``ask (weft MCP Server)``: each agent has its own way.
        title = self._title[:_OWN_TITLE].lower().replace("-", "_")
        # Anything that runs, reads or changes something is more than that, whatever it is called.
        plain = self._kind == "other" and not self._diffs and not self.rejected
        return plain and _OWN_SERVER in title and tool in title

    @property
    def shown_as_ours(self) -> bool:
        """Whether the call of a tool of ours is shown in its place, as long as it still looks like its report."""
        return bool(self.stands_for) and self.reports(self.stands_for)

    def state(self) -> ToolState:
        """Return the tool call as it is now."""
        if self.shown is None:
            # The order decides (T4): agents report the same output in several ways at once, the raw one last.
            terminal = (self._terminal.text(), self._terminal.cut) if self._terminal else ("", 0)
            found = (self._content, terminal, self._response)
            output, cut = next((one for one in found if one[0]), self._raw)
            self.shown = ToolState(
                id=self._id,
                title=self._title,
                kind=self._kind,
                status=self._status,
                output=output,
                output_cut=cut,
                diffs=self._diffs,
                diffs_cut=self._diffs_cut,
                locations=self._locations,
                raw_input=self._input,
                from_permission=self.asked,
                rejected=self.rejected,
            )
        return self.shown


def has_result(update: ToolCallUpdate) -> bool:
    """Whether an update of a tool call says how it ended or what it printed."""
    if update.status in ("completed", "failed"):
        return True
    # An announcement may carry what the call is about to do; only news of it is a result.
    return not isinstance(update, ToolCall) and (
        any(item.content and block_text(item.content) for item in update.content or ())
        or bool(_raw_text(update.raw_output))
        or bool(_field(update.meta, "terminal_output_delta", "data"))
    )


def _field(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _raw_text(raw: Any) -> str:
    text = raw if isinstance(raw, str) else _field(raw, "output")
    return text if isinstance(text, str) else ""
