/**
 * Sending messages: shown at once, in the order in which they were written, each arriving once.
 *
 * A nonce names a message before it has an id. The server posts one nonce once, so that trying again after a lost
 * answer doubles nothing.
 */

import { idAt } from "./ids.js";
import { toWire } from "./mention_text.js";
import { explain } from "./wording.js";

const REPLY = 19;

/** The end of what is being sent, by channel: the next one waits for it. */
const queues = new Map();
let serial = 0;

/** An id for what has none yet. */
export function newNonce() {
    serial += 1;
    return idAt(Date.now(), serial);
}

/**
 * Send a message. Never throws: a failure is shown at the message.
 *
 * `files`: File objects or `{file, url}` of a draft; `replyTo`: {messageId, ping} or null.
 */
export function send(app, channelId, { content, files = [], replyTo = null }) {
    const { store } = app;
    const message = outgoing(store, channelId, toWire(store, content), files, replyTo);
    store.conversation(channelId).addOutgoing(message);
    app.update();
    return deliver(app, store, message);
}

/** Send a message again that failed. */
export function retry(app, message) {
    app.store.conversation(message.channel_id).changeOutgoing(message.id, { state: "sending", text: "" });
    app.update();
    return deliver(app, app.store, message);
}

/** Give a failed message up; its text goes back to where it was written, if that is empty. */
export function discard(app, message) {
    app.store.conversation(message.channel_id).removeOutgoing(message.id);
    if (!app.drafts.of(message.channel_id).text) {
        app.setDraft(message.channel_id, message.content);
    }
    app.update();
}

function outgoing(store, channelId, content, files, replyTo) {
    const id = newNonce();
    const original = replyTo && store.message(channelId, replyTo.messageId);
    const attached = files.map((one) => (one instanceof File ? { file: one, url: URL.createObjectURL(one) } : one));
    return {
        id,
        nonce: id,
        channel_id: channelId,
        author: store.me,
        content,
        type: replyTo ? REPLY : 0,
        flags: 0,
        timestamp: new Date().toISOString(),
        edited_timestamp: null,
        mentions: [],
        mention_roles: [],
        embeds: [],
        components: [],
        attachments: attached.map(({ file, url }, index) => attachment(file, url, index)),
        ...(replyTo && {
            message_reference: { message_id: replyTo.messageId },
            referenced_message: original ?? null,
        }),
        local: { state: "sending", text: "", files: attached.map((one) => one.file), ping: replyTo?.ping ?? true },
    };
}

function attachment(file, url, index) {
    return { id: String(index), filename: file.name, size: file.size, content_type: file.type, url, proxy_url: url };
}

function deliver(app, store, message) {
    const key = message.channel_id;
    // Whose message it is, is settled now: when its turn comes, somebody else may be acting.
    const { api } = app;
    const turn = (queues.get(key) ?? Promise.resolve()).then(() => post(app, api, store, message));
    queues.set(key, turn);
    return turn;
}

async function post(app, api, store, message) {
    const conversation = store.conversation(message.channel_id);
    try {
        const posted = await api.post(`/channels/${message.channel_id}/messages`, body(message), {
            files: message.local.files,
        });
        // The gateway may be away just now, so the answer counts as well; both are the same message.
        store.apply("MESSAGE_CREATE", { ...posted, nonce: message.nonce });
        message.attachments.forEach((one) => URL.revokeObjectURL(one.url));
    } catch (error) {
        conversation.changeOutgoing(message.id, { state: "failed", text: explain(error) });
    }
    app.update();
}

function body(message) {
    const { content, nonce, local, message_reference: reference } = message;
    const described = local.files.map((file, index) => ({ id: String(index), filename: file.name }));
    return {
        content,
        nonce,
        enforce_nonce: true,
        ...(described.length && { attachments: described }),
        ...(reference && {
            message_reference: { ...reference, type: 0 },
            allowed_mentions: { parse: ["users", "roles", "everyone"], replied_user: local.ping },
        }),
    };
}
