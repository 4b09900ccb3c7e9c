/** The list of a channel's threads, closed ones too, below its button in the head. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { timeOf } from "../ids.js";
import { icon } from "./icons.js";
import { menuButton } from "./menu.js";
import { agoText } from "./times.js";

export function threadsButton(app) {
    return menuButton(app, {
        id: "threads",
        label: "Threads",
        picture: "thread",
        items: () => list(app),
        opened: () => fetchClosed(app),
    });
}

function list(app) {
    const threads = app.store.threadsOf(app.place.id, { archived: true });
    const closed = (one) => Boolean(one.thread_metadata?.archived);
    return html`<div class="thread-list">
        ${group(
            app,
            "Open",
            threads.filter((one) => !closed(one)),
        )} ${group(app, "Closed", threads.filter(closed))}
        ${threads.length ? nothing : empty()}
    </div>`;
}

/** A menu has to have an item. */
function empty() {
    return html`<p class="thread-list-empty" role="menuitem" aria-disabled="true">There is no thread here yet.</p>`;
}

function group(app, title, threads) {
    if (!threads.length) {
        return nothing;
    }
    return html`<div role="group" aria-label=${title}>
        <p class="popup-title" aria-hidden="true">${title}</p>
        ${threads.map(
            (one) => html`<button role="menuitem" tabindex="-1" @click=${() => app.open(one.id)}>
                ${icon("thread")}<span class="popup-name">${one.name}</span>
                <span class="popup-note">${agoText(timeOf(one.last_message_id ?? one.id), Date.now())}</span>
            </button>`,
        )}
    </div>`;
}

async function fetchClosed(app) {
    const { channelId } = app.ui;
    try {
        const { threads } = await app.api.get(`/channels/${channelId}/threads/archived/public`, { limit: 100 });
        threads.forEach((one) => app.store.putPlace(one));
        app.update();
    } catch (error) {
        app.alert(error);
    }
}
