"""Who is on the demo's server, and where: people with different rights, and the places that Weft is tried in. Light."""

from __future__ import annotations

from dataclasses import dataclass

from bot.sandbox import ChannelType, FakeDiscord, Person

# What Discord gives to everybody on a new server; nobody moderates but the owner.
MEMBERS_MAY = (
    "view_channel",
    "read_message_history",
    "send_messages",
    "send_messages_in_threads",
    "create_public_threads",
    "create_private_threads",
    "embed_links",
    "attach_files",
    "add_reactions",
    "use_application_commands",
)
BOT_MAY = (*MEMBERS_MAY, "manage_channels", "manage_messages", "manage_threads")
TAGS = ("working", "needs you", "done")


@dataclass(frozen=True, slots=True)
class Character:
    """A person as those see them who are about to act as them: the name, the role and what they may do."""

    name: str
    role: str
    note: str


OWNER, ANA, BEN, SAM = CHARACTERS = (
    Character("owner", "Owner", "Owns this server and runs the bot: may do everything."),
    Character("ana", "Team", "May use Weft; what takes an approver is for others."),
    Character("ben", "Team, Approver", "May use Weft, approve as the second person and let turns go over the budget."),
    Character("sam", "No role", "May read along; Weft takes no requests from Sam."),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """The ids of what was made: text channels, the forum, and the two roles."""

    channels: tuple[int, ...]
    forum: int
    team: int
    approver: int
    people: tuple[Person, ...]


def make_cast(discord: FakeDiscord) -> Cast:
    """Have the people join, and make the places."""
    discord.edit_role(discord.guild_id, *MEMBERS_MAY)
    discord.invite(*BOT_MAY)
    team, approver = discord.add_role("Team"), discord.add_role("Approver")
    roles = {ANA: (team,), BEN: (team, approver)}
    people = tuple(discord.user(one.name, roles.get(one, ())) for one in CHARACTERS)
    second = discord.add_channel("side-project")
    forum = discord.add_channel("tasks", ChannelType.FORUM, TAGS)
    return Cast((discord.channel_id, second), forum, team, approver, people)
