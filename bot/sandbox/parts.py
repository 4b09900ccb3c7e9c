"""What people hang on messages beside text and files, as the wire has it: polls, stickers, forwarded messages."""

from bot.sandbox import objects
from bot.sandbox.model import Json, Message
from bot.sandbox.state import State

_SNAPSHOT = (
    "type",
    "content",
    "embeds",
    "attachments",
    "timestamp",
    "edited_timestamp",
    "flags",
    "mentions",
    "mention_roles",
    "components",
    "sticker_items",
)
_PNG = 1


def poll(question: str, *answers: str) -> Json:
    """A poll that nobody has voted in yet."""
    shape: Json = {
        "question": {"text": question},
        "answers": [{"answer_id": n, "poll_media": {"text": text}} for n, text in enumerate(answers, 1)],
        "expiry": "2100-01-01T00:00:00+00:00",
        "allow_multiselect": False,
        "layout_type": 1,
        "results": {"is_finalized": False, "answer_counts": []},
    }
    return {"poll": shape}


def stickers(state: State, *names: str) -> Json:
    """Stickers by their names."""
    return {"sticker_items": [{"id": str(state.ids()), "name": name, "format_type": _PNG} for name in names]}


def snapshot(state: State, message: Message) -> Json:
    """A message as it is forwarded: a reference and a copy without its author."""
    shape = objects.message_json(state, message)
    reference = {"type": 1, "message_id": shape["id"], "channel_id": shape["channel_id"]}
    if state.channels[message.channel_id].in_guild:
        reference["guild_id"] = str(state.guild_id)
    copy = {name: shape[name] for name in _SNAPSHOT if name in shape}
    return {"message_reference": reference, "message_snapshots": [{"message": copy}]}
