/**
 * What the page knows of the server, kept true by gateway events. Pure of DOM and network.
 *
 * Objects are replaced, never changed in place, so that whoever shows one sees by identity whether it is the same.
 * Windows of messages are in `conversation.js`.
 */

import { Conversation } from "./conversation.js";
import { compareIds } from "./ids.js";
import { DIRECT_MESSAGE_PERMISSIONS, PERMISSIONS, permissionsIn } from "./permissions.js";

export const ChannelType = Object.freeze({ TEXT: 0, DM: 1, PUBLIC_THREAD: 11, PRIVATE_THREAD: 12, FORUM: 15 });

/** A typing indicator is worth this long, unless its message comes first. */
export const TYPING_MS = 10_000;

/** Conversations that stay in memory beside the open one; others are fetched again. */
const CONVERSATIONS_KEPT = 8;

const EPHEMERAL = 64;

export function isThread(place) {
    return place?.type === ChannelType.PUBLIC_THREAD || place?.type === ChannelType.PRIVATE_THREAD;
}

export class Store {
    /** `now` gives milliseconds; `reads` is what an earlier page kept: channel id -> {lastRead, mentions}. */
    constructor({ now = Date.now, reads = {} } = {}) {
        this.me = null;
        this.guild = null;
        this.channels = new Map();
        this.threads = new Map();
        this.members = new Map();
        this.users = new Map();
        this.roles = new Map();
        this.commands = null;
        /** Posts' first messages, by the post's id, which is theirs as well; a message, or "fetching" or "gone". */
        this.starters = new Map();
        /** Rises with any change of a name, role, permission or place: what shows those is made again. */
        this.namesVersion = 0;
        this.ready = false;
        /** Whether the server's places have come. */
        this.entered = false;
        this._now = now;
        this._reads = new Map(Object.entries(reads));
        this._typing = new Map();
        this._conversations = new Map();
    }

    // -- looking ----------------------------------------------------------------------------------------------------

    place(id) {
        return this.channels.get(id) ?? this.threads.get(id);
    }

    parentOf(place) {
        return this.channels.get(place?.parent_id);
    }

    placeName(place) {
        if (place?.type === ChannelType.DM) {
            return this.displayName(place.recipients.find((one) => one.id !== this.me.id)?.id);
        }
        return place?.name ?? "";
    }

    /** Text channels and forums in order, each with its open threads, the newest first. */
    sidebar() {
        const channels = [...this.channels.values()].filter((one) => one.type !== ChannelType.DM);
        channels.sort((a, b) => (a.position ?? 0) - (b.position ?? 0) || compareIds(a.id, b.id));
        // Not by activity: a link must not move while somebody is about to press it.
        const threads = (id) => this.threadsOf(id).sort((a, b) => compareIds(b.id, a.id));
        return channels.map((channel) => ({ channel, threads: threads(channel.id) }));
    }

    /** The liveliest first. */
    threadsOf(channelId, { archived = false } = {}) {
        const threads = [...this.threads.values()].filter((one) => one.parent_id === channelId);
        return threads.filter((one) => archived || !one.thread_metadata?.archived).sort(byActivity);
    }

    dms() {
        return [...this.channels.values()].filter((one) => one.type === ChannelType.DM).sort(byActivity);
    }

    user(id) {
        return this.users.get(id);
    }

    member(id) {
        return this.members.get(id);
    }

    displayName(id) {
        const user = this.users.get(id);
        return this.members.get(id)?.nick ?? user?.global_name ?? user?.username ?? "Unknown";
    }

    /** Whether this person may do what the permission `name` stands for, in the place. */
    can(placeId, name) {
        const place = this.place(placeId);
        if (!place || !this.me) {
            return false;
        }
        if (place.type === ChannelType.DM) {
            return Boolean(DIRECT_MESSAGE_PERMISSIONS & PERMISSIONS[name]);
        }
        const own = this.members.get(this.me.id);
        if (!own) {
            return false;
        }
        const asked = name === "send_messages" && isThread(place) ? "send_messages_in_threads" : name;
        const channel = isThread(place) ? this.parentOf(place) : place;
        return Boolean(permissionsIn(this.guild, this.roles, own, channel) & PERMISSIONS[asked]);
    }

    // -- messages ---------------------------------------------------------------------------------------------------

    conversation(channelId) {
        let found = this._conversations.get(channelId);
        if (!found) {
            found = new Conversation(channelId);
        }
        // The map's order is that of use, so that the first is the one to forget.
        this._conversations.delete(channelId);
        this._conversations.set(channelId, found);
        this._forgetOld();
        return found;
    }

    _forgetOld() {
        // Counted are these alone: beside many that have to stay, the one just opened would be forgotten at once.
        const idle = [...this._conversations.values()].filter((one) => !one.loading && !one.irreplaceable);
        for (const one of idle.slice(0, Math.max(0, idle.length - CONVERSATIONS_KEPT))) {
            this._conversations.delete(one.channelId);
        }
    }

    message(channelId, id) {
        return this._conversations.get(channelId)?.find(id);
    }

    /** The newest message that everybody sees, if the page has it: to ask keeps no place, and makes none go. */
    latestShared(channelId) {
        const shown = this._conversations.get(channelId)?.messages ?? [];
        return shown.findLast((one) => !one.local && !(one.flags & EPHEMERAL));
    }

    /** This person's newest message that is in the window. */
    latestOwn(channelId) {
        const shown = this._conversations.get(channelId)?.messages ?? [];
        return shown.findLast(
            (one) => one.author.id === this.me.id && !one.local && (one.type === 0 || one.type === 19),
        );
    }

    /** Events may have been lost: what is shown is fetched again when it is looked at. */
    _markStale() {
        for (const one of this._conversations.values()) {
            one.stale = one.loaded;
        }
    }

    // -- typing, unread ---------------------------------------------------------------------------------------------

    /** The names of others who are typing there. */
    typing(channelId) {
        const now = this._now();
        const entries = [...(this._typing.get(channelId) ?? [])];
        return entries.filter(([id, until]) => until > now && id !== this.me?.id).map(([id]) => this.displayName(id));
    }

    unread(channelId) {
        const read = this._reads.get(channelId);
        const last = this.place(channelId)?.last_message_id;
        const unread = Boolean(last) && compareIds(last, read?.lastRead ?? "") > 0;
        return { unread, mentions: unread ? (read?.mentions ?? 0) : 0 };
    }

    lastRead(channelId) {
        return this._reads.get(channelId)?.lastRead ?? null;
    }

    /** Everything there has been seen. True if that is news. */
    markRead(channelId) {
        const last = this.place(channelId)?.last_message_id;
        const before = this._reads.get(channelId);
        if (!last || (before && !before.mentions && compareIds(last, before.lastRead) <= 0)) {
            return false;
        }
        this._reads.set(channelId, { lastRead: last, mentions: 0 });
        return true;
    }

    /** What `reads` of the constructor takes. */
    get reads() {
        return Object.fromEntries(this._reads);
    }

    /** Whether a message calls this person. */
    mentionsMe(message) {
        const roles = this.members.get(this.me.id)?.roles ?? [];
        return (
            message.mention_everyone ||
            (message.mentions ?? []).some((one) => one.id === this.me.id) ||
            (message.mention_roles ?? []).some((id) => roles.includes(id))
        );
    }

    // -- events -----------------------------------------------------------------------------------------------------

    /** Take a gateway dispatch in; false if it changes nothing here. */
    apply(name, data) {
        const handler = HANDLERS[name];
        if (!handler) {
            return false;
        }
        handler(this, data);
        return true;
    }

    setCommands(index) {
        this.commands = index;
    }

    putUser(user) {
        if (user?.id) {
            this.users.set(user.id, { ...this.users.get(user.id), ...user });
        }
    }

    putPlace(place) {
        const map = isThread(place) ? this.threads : this.channels;
        map.set(place.id, { ...map.get(place.id), ...place });
        (place.recipients ?? []).forEach((one) => this.putUser(one));
        this.namesVersion += 1;
    }

    removePlace(id) {
        this.channels.delete(id);
        this.threads.delete(id);
        for (const thread of [...this.threads.values()].filter((one) => one.parent_id === id)) {
            this.removePlace(thread.id);
        }
        this._conversations.delete(id);
        this.namesVersion += 1;
    }

    /** A message's author and mentions are people whom the list of members may not have. */
    putAuthors(message) {
        [message.author, ...(message.mentions ?? [])].filter(Boolean).forEach((user) => {
            if (!this.users.has(user.id)) {
                this.putUser(user);
            }
        });
    }
}

function byActivity(a, b) {
    return compareIds(b.last_message_id ?? b.id, a.last_message_id ?? a.id);
}

const HANDLERS = {
    READY(store, data) {
        store.me = data.user;
        store.ready = true;
        store.channels.clear();
        store.threads.clear();
        store.putUser(data.user);
        for (const channel of data.private_channels ?? []) {
            store.putPlace(channel);
            noteAsRead(store, channel);
        }
        store._markStale();
    },

    RESUMED(store) {
        for (const one of store._conversations.values()) {
            one.stale ||= one.doubtful;
        }
    },

    GUILD_CREATE(store, { channels, threads, members, roles, ...guild }) {
        store.guild = guild;
        store.entered = true;
        store.roles = new Map(roles.map((one) => [one.id, one]));
        store.members = new Map();
        members.forEach((one) => putMember(store, one));
        const { DM } = ChannelType;
        store.channels = new Map([...store.channels].filter(([, one]) => one.type === DM));
        store.threads = new Map();
        for (const place of [...channels, ...(threads ?? [])]) {
            store.putPlace(place);
            noteAsRead(store, place);
        }
    },

    GUILD_UPDATE(store, data) {
        store.guild = { ...store.guild, ...data };
        store.namesVersion += 1;
    },

    /** Thrown out: only direct messages are left. */
    GUILD_DELETE(store) {
        [...store.channels.values()].filter((one) => one.guild_id).forEach((one) => store.removePlace(one.id));
        store.guild = null;
        store.members = new Map();
    },

    CHANNEL_CREATE: (store, data) => store.putPlace(data),
    CHANNEL_UPDATE: (store, data) => store.putPlace(data),
    CHANNEL_DELETE: (store, data) => store.removePlace(data.id),
    THREAD_CREATE: (store, data) => store.putPlace(data),
    THREAD_UPDATE: (store, data) => store.putPlace(data),
    THREAD_DELETE: (store, data) => store.removePlace(data.id),

    THREAD_LIST_SYNC(store, data) {
        data.threads.forEach((one) => store.putPlace(one));
    },

    THREAD_MEMBERS_UPDATE(store, data) {
        const thread = store.threads.get(data.id);
        if (thread) {
            store.threads.set(data.id, { ...thread, member_count: data.member_count });
        }
    },

    GUILD_ROLE_CREATE: (store, data) => putRole(store, data.role),
    GUILD_ROLE_UPDATE: (store, data) => putRole(store, data.role),

    GUILD_ROLE_DELETE(store, data) {
        store.roles.delete(data.role_id);
        store.namesVersion += 1;
    },

    GUILD_MEMBER_ADD: putMember,
    GUILD_MEMBER_UPDATE: putMember,

    GUILD_MEMBER_REMOVE(store, data) {
        store.members.delete(data.user.id);
        store.namesVersion += 1;
    },

    MESSAGE_CREATE(store, message) {
        store.putAuthors(message);
        store._typing.get(message.channel_id)?.delete(message.author.id);
        store._conversations.get(message.channel_id)?.add(message);
        if (message.flags & EPHEMERAL) {
            return;
        }
        countMessage(store, message);
    },

    MESSAGE_UPDATE(store, message) {
        store.putAuthors(message);
        store._conversations.get(message.channel_id)?.change(message);
        const starter = store.starters.get(message.id);
        if (starter?.id) {
            store.starters.set(message.id, { ...starter, ...message });
        }
    },

    MESSAGE_DELETE: (store, data) => removeMessages(store, data.channel_id, [data.id]),
    MESSAGE_DELETE_BULK: (store, data) => removeMessages(store, data.channel_id, data.ids),
    MESSAGE_REACTION_ADD: (store, data) => react(store, data, +1),
    MESSAGE_REACTION_REMOVE: (store, data) => react(store, data, -1),

    MESSAGE_REACTION_REMOVE_ALL(store, data) {
        const without = (message) => ({ ...message, reactions: [] });
        store._conversations.get(data.channel_id)?.alter(data.message_id, without);
    },

    MESSAGE_REACTION_REMOVE_EMOJI(store, data) {
        const others = (message) => (message.reactions ?? []).filter((one) => !sameEmoji(one.emoji, data.emoji));
        const without = (message) => ({ ...message, reactions: others(message) });
        store._conversations.get(data.channel_id)?.alter(data.message_id, without);
    },

    TYPING_START(store, data) {
        const there = store._typing.get(data.channel_id) ?? new Map();
        there.set(data.user_id, store._now() + TYPING_MS);
        store._typing.set(data.channel_id, there);
    },
};

/** What is there when the page comes counts as read, unless an earlier page knew better. */
function noteAsRead(store, place) {
    if (place.last_message_id && !store._reads.has(place.id)) {
        store._reads.set(place.id, { lastRead: place.last_message_id, mentions: 0 });
    }
}

function putMember(store, member) {
    store.putUser(member.user);
    store.members.set(member.user.id, { ...store.members.get(member.user.id), ...member });
    store.namesVersion += 1;
}

function putRole(store, role) {
    store.roles.set(role.id, role);
    store.namesVersion += 1;
}

function countMessage(store, message) {
    const place = store.place(message.channel_id);
    // Our own message comes twice, as the answer to its request and as an event.
    if (!place || compareIds(message.id, place.last_message_id ?? "") <= 0) {
        return;
    }
    const map = isThread(place) ? store.threads : store.channels;
    const counted = isThread(place) ? { message_count: (place.message_count ?? 0) + 1 } : {};
    map.set(place.id, { ...place, ...counted, last_message_id: message.id });
    if (message.author.id === store.me.id) {
        store._reads.set(place.id, { lastRead: message.id, mentions: 0 });
    } else if (place.type === ChannelType.DM || store.mentionsMe(message)) {
        const read = store._reads.get(place.id);
        store._reads.set(place.id, { lastRead: read?.lastRead ?? "", mentions: (read?.mentions ?? 0) + 1 });
    }
}

function removeMessages(store, channelId, ids) {
    store._conversations.get(channelId)?.remove(ids);
}

function sameEmoji(a, b) {
    return a.id === b.id && a.name === b.name;
}

function react(store, data, step) {
    const mine = data.user_id === store.me.id;
    store._conversations.get(data.channel_id)?.alter(data.message_id, (message) => {
        const reactions = message.reactions ?? [];
        const known = reactions.find((one) => sameEmoji(one.emoji, data.emoji));
        const before = known ?? { emoji: data.emoji, count: 0, me: false };
        const after = { ...before, count: before.count + step, me: mine ? step > 0 : before.me };
        const others = known ? reactions.map((one) => (one === known ? after : one)) : [...reactions, after];
        return { ...message, reactions: others.filter((one) => one.count > 0) };
    });
}
