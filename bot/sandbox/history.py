"""Which messages a channel has, in order: an index, so that a page of a long channel costs no more than a page.

The mutable state is the sorted ids by channel. Ephemeral messages are in no channel's history.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence


class PostIndex:
    """The ids of messages by channel, oldest first."""

    def __init__(self) -> None:
        self._ids: dict[int, list[int]] = {}

    def ids(self, channel_id: int) -> Sequence[int]:
        """All ids of a channel; not to be changed."""
        return self._ids.get(channel_id, ())

    def add(self, channel_id: int, message_id: int) -> None:
        """Take a message in; one that is known stays where it is."""
        ids = self._ids.setdefault(channel_id, [])
        # Ids grow with time, so that this is nearly always the end; a forum's first message has an older id.
        if not ids or message_id > ids[-1]:
            ids.append(message_id)
        elif not self._has(ids, message_id):
            insort(ids, message_id)

    def remove(self, channel_id: int, message_id: int) -> None:
        """Leave a message out; an unknown one changes nothing."""
        ids = self._ids.get(channel_id, [])
        if self._has(ids, message_id):
            del ids[bisect_left(ids, message_id)]
        if not ids:
            self._ids.pop(channel_id, None)

    def replies(self, thread_id: int) -> int:
        """How many messages a thread has; a forum's first message has its thread's id, and does not count."""
        ids = self._ids.get(thread_id, [])
        return len(ids) - self._has(ids, thread_id)

    def page(self, channel_id: int, query: Mapping[str, str], limit: int) -> Sequence[int]:
        """The part that a request asks for by `after`, `before` or `around`, oldest first; the newest without."""
        ids = self._ids.get(channel_id, [])
        if "after" in query:
            start = bisect_right(ids, int(query["after"]))
            return ids[start : start + limit]
        if "before" in query:
            end = bisect_left(ids, int(query["before"]))
            return ids[max(0, end - limit) : end]
        if "around" in query:
            middle = bisect_left(ids, int(query["around"]))
            start = max(0, middle - limit // 2)
            return ids[start : start + limit]
        # A copy in each case: a page must not change under whoever reads it.
        return ids[-limit:]

    def _has(self, ids: list[int], message_id: int) -> bool:
        place = bisect_left(ids, message_id)
        return place < len(ids) and ids[place] == message_id
