/**
 * Interactions of the person: sent over REST, and answered over the gateway by their nonce.
 *
 * REST only says that Discord took it; whether the bot answered in time, opened a form or suggests values comes as an
 * event, which may overtake REST's answer.
 */

import { inside } from "./views/inside.js";
import { explain } from "./wording.js";

export const COMMAND = 2;
export const COMPONENT = 3;
export const AUTOCOMPLETE = 4;
export const MODAL = 5;

/** The server says after 3 seconds that the bot did not answer; this is for a gateway that was lost meanwhile. */
const LIMIT_MS = 10_000;

/** The bot did not answer. */
export class InteractionFailed extends Error {}

/** Return why an interaction was refused; Discord names the data as a whole where a part of it is wrong. */
export function whyRefused(error) {
    return error.detail?.path === "data" ? error.detail.message : explain(error);
}

/**
 * Send an interaction, and wait for what comes of it.
 *
 * @param sent `{type, channelId, data, message?, files?}`
 * @returns {Promise<{kind: "success"|"modal"|"choices", data: object}>}
 * @throws {InteractionFailed} the bot did not answer in time.
 * @throws {ApiError} Discord refused it.
 */
export async function interact(app, { type, channelId, data, message, files = [] }) {
    const nonce = app.nonce();
    const place = app.store.place(channelId);
    const body = {
        type,
        application_id: message?.application_id ?? app.session.application?.id ?? app.session.application,
        channel_id: channelId,
        session_id: app.gateway.sessionId,
        nonce,
        data,
    };
    if (place?.type !== 1) {
        body.guild_id = app.store.guild.id;
    }
    if (message) {
        Object.assign(body, { message_id: message.id, message_flags: message.flags ?? 0 });
    }
    const answer = awaited(app, nonce);
    try {
        await app.api.post("/interactions", body, files.length ? { files } : undefined);
    } catch (error) {
        settle(app, nonce, (one) => one.reject(error));
    }
    return answer;
}

function awaited(app, nonce) {
    const { waiting } = inside(app);
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => fail(app, nonce), LIMIT_MS);
        waiting.set(nonce, { resolve, reject, timer });
    });
}

function fail(app, nonce) {
    settle(app, nonce, (one) => one.reject(new InteractionFailed("The application did not respond.")));
}

function settle(app, nonce, how) {
    const { waiting } = inside(app);
    const one = waiting.get(nonce);
    if (!one) {
        return;
    }
    clearTimeout(one.timer);
    waiting.delete(nonce);
    how(one);
}

/** Take an event of the gateway; true: it is one of interactions, and nothing else needs it. */
export function onInteractionEvent(app, name, data) {
    switch (name) {
        case "INTERACTION_CREATE":
            return true;
        case "INTERACTION_SUCCESS":
            settle(app, data.nonce, (one) => one.resolve({ kind: "success", data }));
            return true;
        case "INTERACTION_FAILURE":
            fail(app, data.nonce);
            return true;
        case "INTERACTION_MODAL_CREATE":
            settle(app, data.nonce, (one) => one.resolve({ kind: "modal", data }));
            return true;
        case "APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE":
            settle(app, data.nonce, (one) => one.resolve({ kind: "choices", data }));
            return true;
        default:
            return false;
    }
}
