/** The whole page: the server's places on the left, the open place in the middle, things to try on the right. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { ChannelType } from "../store.js";
import { composer } from "./composer.js";
import { connection, faults } from "./faults.js";
import { onDrag } from "./files.js";
import { forum } from "./forum.js";
import { header } from "./header.js";
import { icon } from "./icons.js";
import { isEmptyPlace, messageList } from "./message_list.js";
import { overlaysView } from "./overlays.js";
import { sidebar } from "./sidebar.js";
import { threadDialog } from "./thread_menu.js";
import { tour, tourStrip } from "./tour.js";

export function shell(app) {
    const { ui } = app;
    setTitle(app);
    const open = ui.phone ? ui.drawer : null;
    return html`
        <button class="skip-link" @click=${() => app.focusComposer()}>Skip to the message box</button>
        <div class="shell ${ui.panel && !ui.phone ? "with-panel" : ""}" data-drawer=${open ?? "none"}>
            <div class="shell-sidebar" ?inert=${ui.phone && open !== "channels"}>${sidebar(app)}</div>
            <main class="shell-main" ?inert=${Boolean(open)}>${place(app)}</main>
            ${panel(app, open)}
            ${open ? backdrop(app) : nothing}
        </div>
        <div class="toasts" role="status">
            ${ui.toasts.map((one) => html`<p class="toast">${one.text}</p>`)}
        </div>
        ${threadDialog(app)} ${overlaysView(app)}
    `;
}

function backdrop(app) {
    return html`<button class="backdrop" aria-label="Close" @click=${() => app.setDrawer(null)}></button>`;
}

function setTitle(app) {
    const name = app.place ? app.store.placeName(app.place) : "Sandbox";
    const places = [...app.store.channels.keys(), ...app.store.threads.keys()];
    const mentions = places.reduce((sum, id) => sum + app.store.unread(id).mentions, 0);
    const title = `${mentions ? `(${mentions}) ` : ""}${name}`;
    if (document.title !== title) {
        document.title = title;
    }
}

function place(app) {
    const { place: open } = app;
    if (!open) {
        return html`${header(app)} ${status(app)} ${connection(app)} ${app.store.entered ? nowhere(app) : loading()}`;
    }
    if (open.type === ChannelType.FORUM) {
        return html`${header(app)} ${status(app)} ${connection(app)} ${forum(app)}`;
    }
    return html`
        ${header(app)} ${status(app)} ${connection(app)}
        <div
            class="place"
            @dragenter=${(event) => onDrag(app, event)}
            @dragover=${(event) => onDrag(app, event)}
            @dragleave=${(event) => onDrag(app, event)}
            @drop=${(event) => onDrag(app, event)}
        >
            ${messageList(app)} ${alerts(app)} ${steps(app)} ${composer(app)}
            ${app.ui.dropping ? html`<div class="drop-here">${icon("file")} Drop to attach</div>` : nothing}
        </div>
    `;
}

function loading() {
    return html`<div class="nowhere"><span class="spinner"></span></div>`;
}

function nowhere(app) {
    const text = app.store.guild
        ? "There is no channel here that you may see."
        : "You are not in this server any more.";
    return html`<div class="nowhere"><p>${text} Act as somebody else.</p></div>`;
}

/** The line between page and server; it is silent while all is well. */
function status(app) {
    const texts = {
        connecting: app.store.ready ? "Connecting… What you write is kept." : "Connecting…",
        refused: "The server no longer knows this page. Open the address that the terminal prints.",
        ready: "",
    };
    const text = texts[app.ui.status];
    return html`<div class="connection ${text ? "connection-lost" : ""}" role="status">
        ${text ? html`<span class="spinner"></span>${text}` : nothing}
    </div>`;
}

export function alerts(app) {
    return html`<div class="alerts" role="alert">
        ${app.ui.alerts.map(
            (one) => html`<div class="alert">
                ${icon("warning")}
                <p>${one.text}</p>
                ${one.action ? actionButton(one.action) : nothing}
                <button class="icon-button" aria-label="Close" @click=${() => app.closeAlert(one.id)}>
                    ${icon("close")}
                </button>
            </div>`,
        )}
    </div>`;
}

function actionButton({ label, run }) {
    return html`<button class="button" @click=${run}>${label}</button>`;
}

/** What is tried at the moment, where the list of it does not show that. */
function steps(app) {
    return isEmptyPlace(app) || (app.ui.panel && !app.ui.phone) ? nothing : tourStrip(app);
}

/** Things to try and to break; an empty place shows the tour itself. */
function panel(app, open) {
    if (app.ui.phone ? open !== "panel" : !app.ui.panel) {
        return nothing;
    }
    return html`<aside class="shell-panel" aria-label="Sandbox">
        <div class="panel-head">
            <h2>Sandbox</h2>
            <button class="icon-button" aria-label="Close panel" @click=${() => app.togglePanel()}>
                ${icon("close")}
            </button>
        </div>
        <div class="panel-body">
            ${isEmptyPlace(app) ? nothing : tour(app)} ${faults(app)}
        </div>
    </aside>`;
}
