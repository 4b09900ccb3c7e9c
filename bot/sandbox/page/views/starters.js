/** The messages that threads and posts began with, fetched when they are first to be seen. */

/** The message, or null while it is on its way and where there is none. A thread's first message has its id. */
export function starterOf(app, channelId, threadId) {
    const { store } = app;
    const known = store.starters.get(threadId);
    if (known) {
        return known.id ? known : null;
    }
    store.starters.set(threadId, "fetching");
    fetchStarter(app, channelId, threadId)
        .then((message) => store.starters.set(threadId, message ?? "gone"))
        .finally(() => app.update());
    return null;
}

/** Asked for as a part of the history: a message that is gone is no error then, and none that the browser logs. */
async function fetchStarter(app, channelId, threadId) {
    try {
        const found = await app.api.get(`/channels/${channelId}/messages`, { around: threadId, limit: 1 });
        found.forEach((message) => app.store.putAuthors(message));
        return found.find((message) => message.id === threadId);
    } catch {
        // It may not be read, or the server is away: the card does without.
        return null;
    }
}
