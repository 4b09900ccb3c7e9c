/**
 * The part of one place's history that the page holds: a window that moves through it in pages.
 *
 * Pure of DOM and network.
 * The mutable state is the window, what is in no history (answers for one person's eyes, messages on their way), and
 * the events that came while a page was being fetched. Messages are replaced, never changed: identity is their version.
 */

import { compareIds } from "./ids.js";

/** Messages a request, as many as Discord's client asks for. */
export const PAGE_SIZE = 50;

/** Messages in the window; so many stay cheap to lay out, and are several screens in each direction. */
export const WINDOW_SIZE = 200;

export class Conversation {
    constructor(channelId) {
        this.channelId = channelId;
        this.loaded = false;
        this.atStart = false;
        this.atEnd = false;
        /** "latest", "around", "older" or "newer" while such a page is on its way. */
        this.loading = null;
        this.error = null;
        /** How many messages came since the reader left the end. */
        this.missed = 0;
        /** Whether the reader is at the end: then the oldest make room, else the newest. */
        this.following = true;
        /** Whether events may have been lost, so that the window has to be fetched again. */
        this.stale = false;
        /** Whether it was fetched while there was no connection, and events that it contains are still to come. */
        this.doubtful = false;
        this._messages = [];
        this._ephemeral = [];
        this._outgoing = [];
        this._meanwhile = [];
        this._uncertain = new Set();
        this._moves = new Map();
        this._ticket = 0;
        this._shown = null;
    }

    /** Whether it holds what no server would give again. */
    get irreplaceable() {
        return this._ephemeral.length > 0 || this._outgoing.length > 0;
    }

    /** What is to be seen, oldest first. */
    get messages() {
        this._shown ??= this._merged();
        return this._shown;
    }

    /** The ends of what the server has: where the next page begins. */
    get oldestId() {
        return this._messages[0]?.id;
    }

    get newestId() {
        return this._messages.at(-1)?.id;
    }

    find(id) {
        const all = [this._messages, this._ephemeral, this._outgoing];
        return all.flatMap((list) => list.filter((one) => one.id === id))[0];
    }

    _merged() {
        const first = this.atStart ? "" : (this.oldestId ?? "");
        const last = this.atEnd ? null : (this.newestId ?? "");
        const within = ({ id }) => compareIds(id, first) > 0 && (last === null || compareIds(id, last) < 0);
        const extra = this._ephemeral.filter(within);
        const stored = extra.length
            ? [...this._messages, ...extra].sort((a, b) => compareIds(a.id, b.id))
            : this._messages;
        return this.atEnd ? [...stored, ...this._outgoing] : stored;
    }

    _set(messages) {
        this._messages = messages;
        this._shown = null;
    }

    // -- pages ------------------------------------------------------------------------------------------------------

    /** Note that a page is on its way; the ticket says later whether it is still the one that is waited for. */
    begin(loading) {
        this.loading = loading;
        this.error = null;
        this._meanwhile = [];
        this._uncertain.clear();
        this._ticket += 1;
        return this._ticket;
    }

    awaits(ticket) {
        return this.loading !== null && this._ticket === ticket;
    }

    /** The reader is at the end, or has left it. */
    follow(following) {
        this.following = following;
        if (following && this.atEnd) {
            this.missed = 0;
        }
    }

    fail(error) {
        this.loading = null;
        this.error = error;
        this._meanwhile = [];
    }

    /**
     * A part of the history takes the window's place; `atEnd`: whether it has the newest message.
     *
     * Parts are as the server gives them, newest first.
     */
    replace(part, { atEnd }) {
        this._set(part.toReversed());
        this.loaded = true;
        this.stale = false;
        this.doubtful = false;
        this.atStart = false;
        this.atEnd = atEnd;
        this.missed = 0;
    }

    prepend(part) {
        const joined = [...part.toReversed(), ...this._messages];
        this.atEnd &&= joined.length <= WINDOW_SIZE;
        this._set(joined.slice(0, WINDOW_SIZE));
    }

    append(part) {
        const joined = [...this._messages, ...part.toReversed()];
        this.atStart &&= joined.length <= WINDOW_SIZE;
        this._set(joined.slice(-WINDOW_SIZE));
    }

    /**
     * The page is in. Events that overtook it are applied again: the end is the same, whichever the server took first.
     *
     * Returns the ids of messages to fetch again: a reaction only says one more or one less, and whether the page
     * has it already nobody knows.
     */
    finish({ atStart = this.atStart, atEnd = this.atEnd }) {
        Object.assign(this, { atStart, atEnd, loading: null });
        this._shown = null;
        this._meanwhile.splice(0).forEach((apply) => apply());
        const uncertain = [...this._uncertain].filter((id) => this.find(id));
        this._uncertain.clear();
        return uncertain;
    }

    /** How often a message's reactions have changed. */
    moves(id) {
        return this._moves.get(id) ?? 0;
    }

    // -- events -----------------------------------------------------------------------------------------------------

    add(message) {
        this._outgoing = this._outgoing.filter((one) => one.id !== String(message.nonce));
        this._shown = null;
        if (this.loaded && !this.following && !isEphemeral(message) && !this.find(message.id)) {
            this.missed += 1;
        }
        this._insert(message);
        this._during(message.id, () => this._insert(message));
    }

    _insert(message) {
        if (isEphemeral(message)) {
            this._ephemeral = [...this._ephemeral.filter((one) => one.id !== message.id), message];
            this._shown = null;
        } else if (this.find(message.id)) {
            this.change(message);
        } else if (this.loaded && this.atEnd) {
            this._append(message);
        }
    }

    _append(message) {
        const later = this._messages.findLastIndex((one) => compareIds(one.id, message.id) < 0) + 1;
        const joined = this._messages.toSpliced(later, 0, message);
        if (joined.length <= WINDOW_SIZE) {
            this._set(joined);
        } else if (this.following) {
            this.atStart = false;
            this._set(joined.slice(-WINDOW_SIZE));
        } else {
            // Taking the oldest away would take what is being read; the newest come back by paging.
            this.atEnd = false;
            this._set(joined.slice(0, WINDOW_SIZE));
        }
    }

    /** An update names what changed; the rest stays. Unknown messages are outside of the window. */
    change(fields) {
        this._during(fields.id, () => this.change(fields));
        const merged = (one) => (one.id === fields.id ? { ...one, ...fields } : one);
        this._set(this._messages.map(merged));
        this._ephemeral = this._ephemeral.map(merged);
    }

    /** Replace a message by what `alter` makes of it. */
    alter(id, alter) {
        if (this._overtakes(id)) {
            this._uncertain.add(id);
        }
        this._moves.set(id, this.moves(id) + 1);
        const altered = (one) => (one.id === id ? alter(one) : one);
        this._set(this._messages.map(altered));
        this._ephemeral = this._ephemeral.map(altered);
    }

    remove(ids) {
        ids.forEach((id) => this._during(id, () => this.remove([id])));
        const gone = new Set(ids);
        const stays = (one) => !gone.has(one.id);
        this._set(this._messages.filter(stays));
        this._ephemeral = this._ephemeral.filter(stays);
    }

    _during(id, apply) {
        if (this._overtakes(id)) {
            this._meanwhile.push(apply);
        }
    }

    /** Whether a message may come with the page that is on its way; what stays in the window has had its events. */
    _overtakes(id) {
        return this.loading === "latest" || this.loading === "around" || (this.loading !== null && !this.find(id));
    }

    // -- our own, on their way --------------------------------------------------------------------------------------

    /** Show a message before the server has it; its id is its nonce until then. */
    addOutgoing(message) {
        this._outgoing = [...this._outgoing, message];
        this._shown = null;
    }

    changeOutgoing(id, local) {
        this._outgoing = this._outgoing.map((one) =>
            one.id === id ? { ...one, local: { ...one.local, ...local } } : one,
        );
        this._shown = null;
    }

    removeOutgoing(id) {
        this._outgoing = this._outgoing.filter((one) => one.id !== id);
        this._shown = null;
    }
}

const EPHEMERAL = 64;

function isEphemeral(message) {
    return Boolean(message.flags & EPHEMERAL);
}
