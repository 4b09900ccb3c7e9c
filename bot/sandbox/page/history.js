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
    return fetchPage(app, channelId, "latest", {}, (conversation, page) => conversation.takeLatest(page));
}

export function loadAround(app, channelId, messageId) {
    const query = { around: messageId };
    return fetchPage(app, channelId, "around", query, (conversation, page) => conversation.takeAround(page));
}

export function loadOlder(app, channelId) {
    const { atStart, loading, oldestId } = app.store.conversation(channelId);
    if (atStart || loading || !oldestId) {
        return Promise.resolve();
    }
    const query = { before: oldestId };
    return fetchPage(app, channelId, "older", query, (conversation, page) => conversation.takeOlder(page));
}

export function loadNewer(app, channelId) {
    const { atEnd, loading, newestId } = app.store.conversation(channelId);
    if (atEnd || loading || !newestId) {
        return Promise.resolve();
    }
    const query = { after: newestId };
    return fetchPage(app, channelId, "newer", query, (conversation, page) => conversation.takeNewer(page));
}

async function fetchPage(app, channelId, kind, query, take) {
    const { store } = app;
    const conversation = store.conversation(channelId);
    const ticket = conversation.begin(kind);
    app.update();
    try {
        const page = await app.api.get(`/channels/${channelId}/messages`, { limit: PAGE_SIZE, ...query });
        if (conversation.awaits(ticket)) {
            page.forEach((message) => store.putAuthors(message));
            take(conversation, page);
        }
    } catch (error) {
        if (conversation.awaits(ticket)) {
            conversation.fail(error);
        }
    }
    app.update();
}
