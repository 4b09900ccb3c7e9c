/** Refusals of the server in words that say what to do next. Pure. */

const BY_CODE = new Map([
    [10003, "This channel is gone. Choose another one."],
    [10008, "This message is gone."],
    [20028, "This channel has slow mode. Wait a moment and try again."],
    [30010, "This message has as many different reactions as it can have."],
    [40005, "The file is too large: up to 10 MB can be sent."],
    [40060, "This was answered already. Run the command again."],
    [50001, "You have no access to this. Act as somebody else, or ask the server's owner."],
    [50006, "There is nothing to send yet. Write something or attach a file."],
    [50007, "This person takes no direct messages."],
    [50013, "You do not have permission to do this here. Act as somebody else, or ask the server's owner."],
    [50083, "This thread is closed. Write in it to open it again."],
    [160004, "This message already has a thread. Open it below the message."],
    [160005, "This thread is locked. Only moderators can open it again."],
]);

const FIELDS = new Map([
    ["content", "The message"],
    ["name", "The name"],
    ["applied_tags", "The tags"],
    ["message.content", "The message"],
]);

/** A sentence or two for the person; `error` is an ApiError or anything else that was thrown. */
export function explain(error) {
    if (error?.status === 0) {
        return "The server can't be reached. Is it still running in the terminal? Then try again.";
    }
    if (error?.status === 429) {
        return `Too fast: wait ${Math.ceil(error.retryAfter ?? 1)} s and try again.`;
    }
    const known = BY_CODE.get(error?.code);
    if (known) {
        return known;
    }
    if (error?.detail) {
        const { path, message } = error.detail;
        return `${FIELDS.get(path) ?? capital(path || "This")} can't be sent: ${lower(message)}`;
    }
    if (error?.status >= 500) {
        return "The server failed. Try again in a moment.";
    }
    return `That did not work: ${error?.message ?? error}`;
}

function capital(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}

function lower(text) {
    return text.charAt(0).toLowerCase() + text.slice(1);
}
