/**
 * What a person can do with a message: the toolbar of it, the keys, and the dialogs that some of them ask with.
 *
 * The toolbar is drawn on hover and focus; on a phone it is a sheet that the message's "More" button opens.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { explain } from "../wording.js";
import { copy } from "./copying.js";
import { inSight, modal } from "./floating.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";
import { plainText } from "./markdown.js";
import { placesOf } from "./menu_options.js";
import { addButton } from "./reactions.js";

const EPHEMERAL = 1 << 6;
const LOADING = 1 << 7;
const THREAD_TYPES = new Set([10, 11, 12]);
const DM = 1;
const FORUM = 15;
const NAME_LENGTH = 100;
const SUGGESTED_LENGTH = 40;

/** Return what the person may do with a message: names of actions. */
function allowed(app, message) {
    const { store } = app;
    const may = (name) => store.can(message.channel_id, name);
    const place = store.place(message.channel_id);
    const own = message.author.id === store.me?.id;
    const shared = !(message.flags & EPHEMERAL);
    const inChannel = place && !THREAD_TYPES.has(place.type) && place.type !== DM;
    return {
        react: shared,
        reply: shared && may("send_messages"),
        edit: own && shared && !message.message_snapshots?.length,
        forward: shared && !(message.flags & LOADING),
        thread: shared && inChannel && may("create_public_threads") && !message.thread && !store.place(message.id),
        remove: shared && (own || may("manage_messages")),
        copy: Boolean(message.content),
    };
}

/** Take an event of the list: the message under the pointer, and the one with the focus, have a toolbar. */
export function noteAttention(app, event) {
    const part = event.type === "focusin" ? "focused" : "pointed";
    const id = event.target.closest("article")?.dataset.messageId;
    if (id && id !== app.ui[part]) {
        app.ui[part] = id;
        app.update();
    }
}

/** Whether a message has its toolbar. With one each, messages would be four times as large to draw. */
export function hasToolbar({ ui }, id) {
    const open = ui.menu?.endsWith(`:${id}`) ?? false;
    return open || (!ui.phone && (ui.pointed === id || ui.focused === id));
}

/** Return the toolbar; nothing for messages that are on their way, or that nobody turns to. */
export function toolbarView(app, message) {
    if (message.local || !hasToolbar(app, message.id)) {
        return nothing;
    }
    const may = allowed(app, message);
    const menu = `message:${message.id}`;
    const picking = app.ui.menu === `emoji:${message.id}`;
    const tool = (shown, name, sign, run, kind = "") =>
        shown
            ? html`<button
                  type="button"
                  class="icon-button tool ${kind}"
                  aria-label=${name}
                  title=${name}
                  @click=${() => act(app, run)}
              >
                  ${icon(sign)}<span class="tool-name" aria-hidden="true">${name}</span>
              </button>`
            : nothing;
    return html`<div
        class=${app.ui.menu === menu ? "toolbar open" : "toolbar"}
        role="toolbar"
        aria-label="Message actions"
        data-menu=${picking ? app.ui.menu : menu}
    >
        ${may.react ? addButton(app, message, "tool") : nothing}
        ${tool(may.reply, "Reply", "reply", () => reply(app, message))}
        ${tool(may.edit, "Edit", "edit", () => edit(app, message))}
        ${tool(may.forward, "Forward", "forward", () => openForward(app, message))}
        ${tool(may.thread, "Start thread", "thread", () => openThread(app, message))}
        ${tool(may.copy, "Copy text", "copy", () => copy(app, message.content))}
        ${tool(may.remove, "Delete", "trash", () => openDelete(app, message), "danger")}
    </div>`;
}

/** Return the button that opens the toolbar on a phone. */
export function moreButton(app, message) {
    if (message.local || !app.ui.phone) {
        return nothing;
    }
    const menu = `message:${message.id}`;
    const toggle = () => {
        app.ui.menu = app.ui.menu === menu ? null : menu;
        app.update();
    };
    return html`<button
        type="button"
        class="icon-button more"
        aria-label="More"
        data-menu=${menu}
        aria-expanded=${String(app.ui.menu === menu)}
        @click=${toggle}
    >
        ${icon("more")}
    </button>`;
}

function act(app, run) {
    app.ui.menu = null;
    run();
    // The next key is for the dialog, the editor or the message box that this opens.
    app.drawNow();
}

function reply(app, message) {
    app.ui.replyTo = { channelId: message.channel_id, messageId: message.id, ping: true };
    app.focusComposer();
}

function edit(app, message) {
    app.ui.editing = { channelId: message.channel_id, messageId: message.id };
}

/** Do what a key on a message itself stands for, as in Discord: E, R, F, T, C, + and Delete. */
export function onMessageKey(app, message, event) {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey || message.local) {
        return;
    }
    const may = allowed(app, message);
    const keys = {
        e: may.edit && (() => edit(app, message)),
        r: may.reply && (() => reply(app, message)),
        f: may.forward && (() => openForward(app, message)),
        t: may.thread && (() => openThread(app, message)),
        c: may.copy && (() => copy(app, message.content)),
        Delete: may.remove && (() => openDelete(app, message)),
        Backspace: may.remove && (() => openDelete(app, message)),
        "+": may.react && (() => event.currentTarget.querySelector('[aria-label="Add reaction"]')?.click()),
    };
    const run = keys[event.key];
    if (run) {
        event.preventDefault();
        act(app, run);
    }
}

// --- dialogs ---------------------------------------------------------------------------------------------------------

function open(app, dialog) {
    inside(app).dialog = { error: "", busy: false, ...dialog };
    app.update();
}

function close(app) {
    inside(app).dialog = null;
    app.update();
}

/** Do what a dialog asks for, and close it; what Discord refuses is said in it. */
async function confirm(app, dialog, run) {
    if (dialog.busy) {
        return;
    }
    Object.assign(dialog, { busy: true, error: "" });
    app.update();
    try {
        await run();
        if (inside(app).dialog === dialog) {
            close(app);
        }
    } catch (error) {
        Object.assign(dialog, { busy: false, error: explain(error) });
        app.update();
    }
}

/** Return a dialog's frame: its title, what is in it, and the button that does it. */
function frame(app, dialog, { title, body, action, kind = "primary", run, ready = true }) {
    const submit = (event) => {
        event.preventDefault();
        if (ready) {
            confirm(app, dialog, run);
        }
    };
    return html`<dialog
        class="dialog"
        aria-labelledby="dialog-title"
        @cancel=${() => close(app)}
        @close=${() => close(app)}
        ${ref(modal)}
    >
        <form class="dialog-form" @submit=${submit}>
            <h2 id="dialog-title" class="dialog-title">${title}</h2>
            <div class="dialog-body">
                ${body} ${dialog.error ? html`<p class="field-error" role="alert">${dialog.error}</p>` : nothing}
            </div>
            <div class="dialog-foot">
                <button type="button" class="button button-secondary" @click=${() => close(app)}>Cancel</button>
                <button
                    class="button button-${kind}"
                    aria-busy=${dialog.busy ? "true" : nothing}
                    ?disabled=${!ready}
                    ?data-first=${kind === "danger"}
                >
                    ${action}
                </button>
            </div>
        </form>
    </dialog>`;
}

/** Return the open dialog of an action. */
export function actionDialog(app, dialog) {
    const views = { forward: forwardDialog, delete: deleteDialog, thread: threadDialog };
    return views[dialog.kind](app, dialog);
}

function previewOf(app, message) {
    const files = message.attachments?.map((one) => one.filename).join(", ");
    const words = plainText(app, message.content ?? "") || files || "A message without text";
    return html`<blockquote class="preview">
        <b><bdi>${app.store.displayName(message.author.id)}</bdi></b>
        <p><bdi>${words}</bdi></p>
    </blockquote>`;
}

function openDelete(app, message) {
    open(app, { kind: "delete", message });
}

function deleteDialog(app, dialog) {
    const { message } = dialog;
    const path = `/channels/${message.channel_id}/messages/${message.id}`;
    return frame(app, dialog, {
        title: "Delete message",
        body: html`<p>Delete this message? This cannot be undone.</p>
            ${previewOf(app, message)}`,
        action: "Delete",
        kind: "danger",
        run: () => app.api.delete(path),
    });
}

function openThread(app, message) {
    const words = plainText(app, message.content ?? "");
    // Whole words, as a name that ends within one reads like a mistake.
    const name = words.length > SUGGESTED_LENGTH ? words.slice(0, SUGGESTED_LENGTH).replace(/\s+\S*$/, "") : words;
    open(app, { kind: "thread", message, name });
}

function threadDialog(app, dialog) {
    const { message, name } = dialog;
    const type = (event) => {
        dialog.name = event.target.value;
        app.update();
    };
    const run = async () => {
        const path = `/channels/${message.channel_id}/messages/${message.id}/threads`;
        const thread = await app.api.post(path, { name: dialog.name.trim() });
        app.open(thread.id);
    };
    return frame(app, dialog, {
        title: "Start thread",
        body: html`<div class="form-field">
                <label for="thread-name">Thread name</label>
                <input
                    id="thread-name"
                    type="text"
                    autocomplete="off"
                    maxlength=${NAME_LENGTH}
                    .value=${name}
                    @input=${type}
                />
            </div>
            ${previewOf(app, message)}`,
        action: "Start thread",
        ready: Boolean(name.trim()),
        run,
    });
}

function openForward(app, message) {
    open(app, { kind: "forward", message, filter: "", active: 0, to: null, comment: "" });
}

function forwardTargets(app, dialog) {
    const words = dialog.filter.trim().toLowerCase();
    const direct = app.store.dms().map((one) => ({ value: one.id, label: app.store.placeName(one), direct: true }));
    const all = [...placesOf(app).filter((one) => app.store.place(one.value).type !== FORUM), ...direct];
    const writable = all.filter((one) => one.direct || app.store.can(one.value, "send_messages"));
    const unique = [...new Map(writable.map((one) => [one.value, one])).values()];
    return unique.filter((one) => one.label.toLowerCase().includes(words));
}

function forwardDialog(app, dialog) {
    const { message } = dialog;
    const targets = forwardTargets(app, dialog);
    const pick = (target) => {
        dialog.to = target.value;
        app.update();
    };
    const type = (event) => {
        Object.assign(dialog, { filter: event.target.value, active: 0 });
        app.update();
    };
    const comment = (event) => (dialog.comment = event.target.value);
    return frame(app, dialog, {
        title: "Forward",
        body: html`<input
                class="search"
                type="text"
                role="combobox"
                aria-label="Search places"
                aria-expanded="true"
                aria-controls="forward-places"
                aria-activedescendant=${targets[dialog.active] ? `forward-${targets[dialog.active].value}` : nothing}
                placeholder="Where to?"
                autocomplete="off"
                .value=${dialog.filter}
                @input=${type}
                @keydown=${(event) => onForwardKey(app, dialog, targets, event)}
            />
            <ul id="forward-places" class="place-list" role="listbox" aria-label="Places">
                ${targets.map((one, at) => targetView(app, dialog, one, at, pick))}
                ${targets.length ? nothing : html`<li class="popup-none">Nothing found</li>`}
            </ul>
            ${previewOf(app, message)}
            <div class="form-field">
                <label for="forward-comment">Add a message (optional)</label>
                <input
                    id="forward-comment"
                    type="text"
                    autocomplete="off"
                    maxlength="2000"
                    .value=${dialog.comment}
                    @input=${comment}
                />
            </div>`,
        action: "Send",
        ready: Boolean(dialog.to),
        run: () => forward(app, dialog),
    });
}

function targetView(app, dialog, one, at, pick) {
    const chosen = dialog.to === one.value;
    const place = app.store.place(one.value);
    const parent = THREAD_TYPES.has(place.type) ? app.store.place(place.parent_id) : null;
    const sign = one.direct ? "at" : parent ? "thread" : "hash";
    return html`<li
        id="forward-${one.value}"
        role="option"
        class=${at === dialog.active ? "popup-option active" : "popup-option"}
        aria-selected=${String(chosen)}
        @click=${() => pick(one)}
        ${at === dialog.active ? ref(inSight) : nothing}
    >
        ${icon(sign)}
        <span class="popup-words">
            <bdi class="popup-label">${one.label}</bdi>
            ${parent ? html`<bdi class="popup-about">${app.store.placeName(parent)}</bdi>` : nothing}
        </span>
        ${chosen ? icon("check") : nothing}
    </li>`;
}

function onForwardKey(app, dialog, targets, event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && targets.length) {
        dialog.active = (dialog.active + step + targets.length) % targets.length;
    } else if (event.key === "Enter" && targets[dialog.active] && dialog.to !== targets[dialog.active].value) {
        // The first Enter chooses, the next one sends, as it does from the other fields.
        dialog.to = targets[dialog.active].value;
    } else {
        return;
    }
    event.preventDefault();
    app.update();
}

async function forward(app, { message, to, comment }) {
    const reference = { type: 1, message_id: message.id, channel_id: message.channel_id };
    const place = app.store.place(message.channel_id);
    if (place.type !== DM) {
        reference.guild_id = app.store.guild.id;
    }
    await app.api.post(`/channels/${to}/messages`, { message_reference: reference, nonce: app.nonce() });
    if (comment.trim()) {
        await app.api.post(`/channels/${to}/messages`, { content: comment.trim(), nonce: app.nonce() });
    }
    app.toast(`Forwarded to ${app.store.placeName(app.store.place(to))}.`);
}
