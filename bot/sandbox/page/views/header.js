/** The line above a place: its name, where it belongs, and what can be done with it. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { ChannelType, isThread } from "../store.js";
import { icon } from "./icons.js";
import { threadMenu } from "./thread_menu.js";
import { threadsButton } from "./threads.js";

export function header(app) {
    const { place, store } = app;
    const parent = isThread(place) ? store.parentOf(place) : null;
    return html`<header class="place-head">
        ${app.ui.phone ? drawerButton(app) : nothing}
        ${
            parent
                ? html`<a
                      class="crumb"
                      href="#/${parent.id}"
                      aria-label=${parent.name}
                      @click=${(event) => goTo(app, event, parent.id)}
                  >
                      ${icon(parent.type === ChannelType.FORUM ? "forum" : "hash")}<span>${parent.name}</span></a
                  ><span class="crumb-sign" aria-hidden="true">›</span>`
                : nothing
        }
        ${place ? html`<span class="place-icon" aria-hidden="true">${icon(pictureOf(place))}</span>` : nothing}
        <h1>${place ? store.placeName(place) : "Sandbox"}</h1>
        ${place?.topic ? html`<p class="topic">${place.topic}</p>` : nothing}
        <div class="head-actions">
            ${place?.type === ChannelType.TEXT ? threadsButton(app) : nothing}
            ${isThread(place) ? threadMenu(app) : nothing} ${panelButton(app)}
        </div>
    </header>`;
}

function pictureOf(place) {
    if (place.type === ChannelType.DM) {
        return "at";
    }
    if (place.type === ChannelType.FORUM) {
        return "forum";
    }
    return isThread(place) ? (place.thread_metadata?.locked ? "lock" : "thread") : "hash";
}

function drawerButton(app) {
    const places = [...app.store.channels.keys(), ...app.store.threads.keys()];
    const unread = places.some((id) => id !== app.ui.channelId && app.store.unread(id).unread);
    return html`<button
        class="icon-button ${unread ? "has-unread" : ""}"
        aria-label="Open channels"
        aria-expanded=${app.ui.drawer === "channels"}
        data-opens="channels"
        @click=${() => app.setDrawer("channels")}
    >
        ${icon("menu")}
    </button>`;
}

function panelButton(app) {
    const shown = app.ui.phone ? app.ui.drawer === "panel" : app.ui.panel;
    const label = "Things to try";
    return html`<button
        class="icon-button"
        aria-label=${label}
        title=${label}
        aria-expanded=${shown}
        data-opens="panel"
        @click=${() => app.togglePanel()}
    >
        ${icon("wand")}
    </button>`;
}

function goTo(app, event, id) {
    event.preventDefault();
    app.open(id);
}
