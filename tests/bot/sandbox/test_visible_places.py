"""What a person's client knows after any number of changes of rights is what that person sees, and nothing else."""

import random

import pytest

from bot.sandbox import ChannelType, FakeDiscord, Person, channels
from bot.sandbox.guilds import active_threads, channels_json
from tests.bot.sandbox.person import Json, PersonClient, client_of

pytestmark = pytest.mark.asyncio


class Known:
    """The places that a client would show, by the events that it was told."""

    def __init__(self) -> None:
        self.places: dict[str, str | None] = {}

    def take(self, name: str, data: Json) -> None:
        if name == "GUILD_CREATE":
            self.places = {one["id"]: one.get("parent_id") for one in (*data["channels"], *data["threads"])}
        elif name == "GUILD_DELETE":
            self.places = {}
        elif name in ("CHANNEL_CREATE", "THREAD_CREATE"):
            assert data["id"] not in self.places, "told twice"
            assert data["parent_id"] is None or data["parent_id"] in self.places, "a thread before its channel"
            self.places[data["id"]] = data["parent_id"]
        elif name == "CHANNEL_DELETE":
            gone = data["id"]
            self.places = {key: parent for key, parent in self.places.items() if gone not in (key, parent)}
        elif name == "THREAD_DELETE" or (name == "THREAD_UPDATE" and data["thread_metadata"]["archived"]):
            self.places.pop(data["id"], None)
        elif name == "THREAD_UPDATE":
            self.places[data["id"]] = data["parent_id"]
        elif name == "MESSAGE_CREATE":
            assert data["channel_id"] in self.places, "a message in an unknown place"


async def change_something(fd: FakeDiscord, alice: Person, roles: list[int], chance: random.Random) -> None:
    """One change of places, rights or members, by chance."""
    inside = fd.state.in_guild(alice.id)
    parents = [one for one in fd.state.channels.values() if one.type is ChannelType.TEXT]
    threads = fd.threads()
    place, verb = chance.choice(parents), ["allow", "deny"][chance.random() < 0.6]
    rights = chance.sample(["view_channel", "manage_threads", "send_messages"], chance.randrange(3))
    match chance.randrange(14):
        case 0 | 1:
            fd.overwrite(place.id, chance.choice([fd.guild_id, alice.id, *roles]), **{verb: rights})
        case 2:
            fd.user("alice", chance.sample(roles, 2))
        case 3 | 11 | 12:
            fd.edit_role(chance.choice([fd.guild_id, fd.guild_id, *roles]), *rights)
        case 4 if inside and chance.random() < 0.5:
            fd.kick(alice)
        case 5:
            fd.add_channel("new")
        case 6:
            await fd.start_thread(fd.owner, await fd.owner.say(place.id, "topic"), "topic")
        case 7:
            await fd.start_private_thread(fd.owner, place.id, "private", *([alice] if inside else []))
        case 8 if threads:
            one = chance.choice(threads)
            await (fd.unarchive if one.archived else fd.archive)(one.id)
        case 9 if threads and inside:
            thread = chance.choice(threads)
            (channels.leave if alice.id in thread.member_ids else channels.join)(fd.state, thread, alice.id)
        case 10 if threads and chance.random() < 0.5:
            await fd.delete_channel(chance.choice([chance.choice(threads).id, *[one.id for one in parents[1:]]]))
        case _:
            await fd.owner.say(chance.choice([*parents, *threads]).id, "hello")


async def follow(fd: FakeDiscord, client: PersonClient, known: Known, mark: str) -> None:
    names = await client.names_until(fd, mark)
    for name, data in client.events[-len(names) - 1 : -1]:
        known.take(name, data)


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_knows_the_places_that_its_person_sees_whatever_changes(seed: int) -> None:
    chance = random.Random(seed)
    async with FakeDiscord() as fd:
        alice, roles = fd.user("alice"), [fd.add_role(name) for name in ("a", "b", "c")]
        async with client_of(fd, alice) as client:
            known = Known()
            for step in range(120):
                await change_something(fd, alice, roles, chance)
                await follow(fd, client, known, str(step))
                seen = []
                if fd.state.in_guild(alice.id):
                    seen = [one["id"] for one in channels_json(fd.state, alice.id)]
                    seen += [str(one.id) for one in active_threads(fd.state, alice.id)]
                assert sorted(known.places) == sorted(seen), step
