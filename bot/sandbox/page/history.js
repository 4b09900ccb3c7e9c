/**
 * Fetching pages of a place's history into its window. What a window is, `conversation.js` knows; when the reader comes
 * near an end of it, `scrolling.js`.
 */

import { PAGE_SIZE } from "./conversation.js";

/** Have something to show: the newest page, or what the reader was at before the connection was lost. */
export async function ensureLoaded(app, channelId) {
    const conversation = app.store.conversation(channelId);
    if (conversation.loading || (conversation.loaded && !conversation.stale)) {
        return;
    }
    if (conversation.stale && !conversation.following) {
        const middle = conversation.messages.at(Math.floor(conversation.messages.length / 2));
        await loadAround(app, channelId, app.scroller.anchorId ?? middle.id);
    } else {
        await loadLatest(app, channelId);
    }
}

export function loadLatest(app, channelId) {
    return fetchPage(app, channelId, "latest", {}, async (conversation, page, showing) => {
        const [first = [], ...older] = parts(page);
        conversation.replace(first, { atEnd: true });
        await each(older, showing, (part) => conversation.prepend(part));
        return { atStart: page.length < PAGE_SIZE };
    });
}

/** Only further pages can tell where the history ends, whatever comes with this one. */
export function loadAround(app, channelId, messageId) {
    return fetchPage(app, channelId, "around", { around: messageId }, async (conversation, page, showing) => {
        const middle = Math.max(0, page.findIndex((one) => one.id === messageId) - PART_SIZE / 2);
        conversation.replace(page.slice(middle, middle + PART_SIZE), { atEnd: false });
        await each(parts(page.slice(middle + PART_SIZE)), showing, (part) => conversation.prepend(part));
        await each(parts(page.slice(0, middle)).reverse(), showing, (part) => conversation.append(part));
        return {};
    });
}

export function loadOlder(app, channelId) {
    const { atStart, loading, oldestId } = app.store.conversation(channelId);
    if (atStart || loading || !oldestId) {
        return Promise.resolve();
    }
    return fetchPage(app, channelId, "older", { before: oldestId }, async (conversation, page, showing) => {
        await each(parts(page), showing, (part) => conversation.prepend(part));
        return { atStart: page.length < PAGE_SIZE };
    });
}

export function loadNewer(app, channelId) {
    const { atEnd, loading, newestId } = app.store.conversation(channelId);
    if (atEnd || loading || !newestId) {
        return Promise.resolve();
    }
    return fetchPage(app, channelId, "newer", { after: newestId }, async (conversation, page, showing) => {
        // The oldest part is next to what is there.
        await each(parts(page).reverse(), showing, (part) => conversation.append(part));
        return { atEnd: page.length < PAGE_SIZE };
    });
}

/** Messages that are drawn in one frame: all 50 of a page would take as long as one can feel. */
const PART_SIZE = 8;

function parts(page) {
    const count = Math.ceil(page.length / PART_SIZE);
    return Array.from({ length: count }, (_, index) => page.slice(index * PART_SIZE, (index + 1) * PART_SIZE));
}

async function each(all, showing, take) {
    for (const part of all) {
        await showing();
        take(part);
    }
}

/** Ask for a page and have `take` put it into the window, part by part, until another page is waited for instead. */
async function fetchPage(app, channelId, kind, query, take) {
    const { store } = app;
    const conversation = store.conversation(channelId);
    const ticket = conversation.begin(kind);
    // What is read while no events come is read again, as they come later.
    conversation.doubtful ||= app.ui.status !== "ready";
    const showing = async () => {
        await app.rendered();
        if (!conversation.awaits(ticket)) {
            throw new Overtaken();
        }
    };
    app.update();
    try {
        const page = await app.api.get(`/channels/${channelId}/messages`, { limit: PAGE_SIZE, ...query });
        if (!conversation.awaits(ticket)) {
            return;
        }
        page.forEach((message) => store.putAuthors(message));
        const ends = await take(conversation, page, showing);
        conversation.finish(ends).forEach((id) => refresh(app, conversation, id));
    } catch (error) {
        if (conversation.awaits(ticket)) {
            conversation.fail(error);
        }
    }
    app.update();
}

/** Another page took this one's place. */
class Overtaken extends Error {}

/** Only the reactions are taken: of the rest, events know the newest. */
async function refresh(app, conversation, id) {
    const query = { around: id, limit: 1 };
    for (let doubt = true; doubt; ) {
        const before = conversation.moves(id);
        const [message] = await app.api.get(`/channels/${conversation.channelId}/messages`, query).catch(() => []);
        // One more or less meanwhile: whether the answer has it already nobody knows, either.
        doubt = conversation.moves(id) !== before;
        if (!doubt && message?.id === id) {
            conversation.change({ id, reactions: message.reactions ?? [] });
        }
    }
    app.update();
}
