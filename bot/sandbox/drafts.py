"""From a request's body to the checked parts of a message; the bodies of REST, callbacks and followups are alike.

Components get the defaults and the ids that Discord adds. It decides nothing about channels and authors: that is
`messages`.
"""

import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from bot.sandbox import checks
from bot.sandbox.checks import BUTTON, CONTAINER, SELECTS, walk
from bot.sandbox.errors import InvalidForm
from bot.sandbox.model import Attachment, Json, Message, MessageFlags

_SETTABLE = (
    MessageFlags.SUPPRESS_EMBEDS
    | MessageFlags.EPHEMERAL
    | MessageFlags.SUPPRESS_NOTIFICATIONS
    | MessageFlags.COMPONENTS_V2
)
_USER_MENTION = re.compile(r"<@!?(\d+)>")
_ROLE_MENTION = re.compile(r"<@&(\d+)>")
MAX_FILE_NAME = 260
EVERYBODY: Json = {"parse": ["users", "roles", "everyone"]}
_UNSAFE_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\]|^\.+$|^$")
_EVERYONE = re.compile(r"@(everyone|here)\b")

_DEFAULTS: dict[int, Json] = {
    BUTTON: {"disabled": False},
    CONTAINER: {"accent_color": None, "spoiler": False},
    **{kind: {"min_values": 1, "max_values": 1, "disabled": False} for kind in SELECTS},
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a multipart request; `index` is the n of `files[n]`."""

    index: int
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mentions:
    """Whom a text mentions, after `allowed_mentions`."""

    users: tuple[int, ...] = ()
    roles: tuple[int, ...] = ()
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that passed the checks and has no id yet."""

    content: str = ""
    flags: int = 0
    components: list[Json] = field(default_factory=list)
    embeds: list[Json] = field(default_factory=list)
    attachments: tuple[Attachment, ...] = ()
    nonce: str | int | None = None
    enforce_nonce: bool = False
    reference: Json | None = None
    allowed_mentions: Json | None = None
    parts: Json = field(default_factory=dict)


def find_mentions(content: str, allowed: Json | None) -> Mentions:
    """The mentions of a text; without `allowed_mentions` all of them count."""
    users = tuple(dict.fromkeys(int(one) for one in _USER_MENTION.findall(content)))
    roles = tuple(dict.fromkeys(int(one) for one in _ROLE_MENTION.findall(content)))
    everyone = bool(_EVERYONE.search(content))
    # Without the field everybody counts, as with Discord; that is why a bot always has to send it.
    if allowed is None:
        return Mentions(users, roles, everyone)
    parse = allowed.get("parse") or []
    named_users = {int(one) for one in allowed.get("users") or []}
    named_roles = {int(one) for one in allowed.get("roles") or []}
    return Mentions(
        tuple(one for one in users if "users" in parse or one in named_users),
        tuple(one for one in roles if "roles" in parse or one in named_roles),
        everyone and "everyone" in parse,
    )


def attach(name: str, content: bytes, new_id: Callable[[], int]) -> Attachment:
    """A stored file, its type guessed by its name; what could lead out of its folder in an address is taken away.

    Raises:
        InvalidForm: the name is too long, and nobody could ask for its address.
    """
    if len(name) > MAX_FILE_NAME:
        raise InvalidForm("attachments", f"Must be {MAX_FILE_NAME} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    # As text first: a half of a surrogate pair would break the address.
    name = _UNSAFE_IN_NAMES.sub("_", name.encode("utf-8", "replace").decode())
    guessed, _ = mimetypes.guess_type(name)
    return Attachment(new_id(), name, content, guessed or "application/octet-stream")


def make_draft(body: Json, uploads: list[Upload], new_id: Callable[[], int], parts: Json | None = None) -> Draft:
    """The checked parts of a new message; raises 50006 or 50035."""
    flags = check_flags(body.get("flags"))
    content = checks.check_content(body.get("content"))
    draft = Draft(
        content=content,
        flags=flags,
        components=kept_components(checks.check_components(body.get("components"), flags)),
        embeds=checks.check_embeds(body.get("embeds")),
        attachments=_uploaded(body, uploads, new_id),
        nonce=checks.check_nonce(body.get("nonce")),
        enforce_nonce=bool(body.get("enforce_nonce")),
        reference=body.get("message_reference"),
        allowed_mentions=body.get("allowed_mentions"),
        parts=parts or {},
    )
    _check_v2_parts(flags, draft.content, draft.embeds)
    find_mentions(content, draft.allowed_mentions)  # before anything is changed by a body that is refused later
    shown = (draft.components, draft.embeds, draft.attachments, draft.parts, body.get("sticker_ids"))
    checks.check_not_empty(content, *shown)
    return draft


def make_changes(
    body: Json, uploads: list[Upload], message: Message, new_id: Callable[[], int]
) -> Mapping[str, object]:
    """The fields that an edit sets, by their names in `Message`; raises 50006 or 50035."""
    changes: dict[str, object] = {}
    flags = message.flags
    if body.get("flags") is not None:
        # The one flag that an edit can take away; the others are the message's for ever.
        kept = message.flags & ~MessageFlags.SUPPRESS_EMBEDS
        changes["flags"] = flags = kept | check_flags(body["flags"])
    if "content" in body:
        changes["content"] = checks.check_content(body["content"])
    if "components" in body:
        changes["components"] = kept_components(checks.check_components(body["components"], flags))
    if "embeds" in body:
        changes["embeds"] = checks.check_embeds(body["embeds"])
    if "attachments" in body or uploads:
        kept_files = _kept(body, message)
        changes["attachments"] = (*kept_files, *_uploaded(body, uploads, new_id))
    _check_v2_parts(flags, str(changes.get("content", message.content)), changes.get("embeds", message.embeds))
    # With what stays: an edit may take the text away where a file remains.
    parts = [changes.get(name, getattr(message, name)) for name in ("components", "embeds", "attachments")]
    checks.check_not_empty(str(changes.get("content", message.content)), *parts)
    return changes


def check_flags(value: object) -> int:
    """The flags that a client may set."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise InvalidForm("flags", "Must be an integer.")
    # Others are dropped without an error.
    return value & int(_SETTABLE)


def _check_v2_parts(flags: int, content: str, embeds: object) -> None:
    if flags & MessageFlags.COMPONENTS_V2 and (content or embeds):
        reason = "The 'content' and 'embeds' fields cannot be used when using MessageFlags.IS_COMPONENTS_V2"
        raise InvalidForm("content", reason, "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2")


def _uploaded(body: Json, uploads: list[Upload], new_id: Callable[[], int]) -> tuple[Attachment, ...]:
    names = {int(one["id"]): one.get("filename") for one in body.get("attachments") or [] if "id" in one}
    return tuple(attach(names.get(one.index) or one.name, one.content, new_id) for one in uploads)


def _kept(body: Json, message: Message) -> tuple[Attachment, ...]:
    """The files that an edit keeps: the ones it lists, or all where it lists none at all."""
    # Left out, they stay; an empty list takes all of them away.
    if "attachments" not in body:
        return message.attachments
    listed = {int(one["id"]) for one in body["attachments"] or []}
    return tuple(one for one in message.attachments if one.id in listed)


def kept_components(components: list[Json]) -> list[Json]:
    """The tree with what the client left out; ids that it chose are kept."""
    # Of the whole tree: an id given to one part must not be drawn for another.
    taken = {one["id"] for one in walk(components) if one.get("id")}
    free = (number for number in count(1) if number not in taken)
    return [_kept_component(one, free) for one in components]


def _kept_component(component: Json, free: Iterator[int]) -> Json:
    given = _without_nulls(component)
    shape = {**_DEFAULTS.get(component["type"], {}), **given, "id": component.get("id") or next(free)}
    if "options" in component:
        shape["options"] = [_without_nulls(one) for one in component["options"]]
    if "components" in component:
        shape["components"] = [_kept_component(one, free) for one in component["components"]]
    if isinstance(component.get("accessory"), dict):
        shape["accessory"] = _kept_component(component["accessory"], free)
    return shape


def _without_nulls(given: Json) -> Json:
    return {name: value for name, value in given.items() if value is not None}
