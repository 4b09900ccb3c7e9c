/**
 * The open place's messages: the window of its history between two ends, with a line for each day and one above what
 * is new. What is in a message, `message.js` draws; where the list is scrolled to, `scrolling.js` sees to.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

import { ensureLoaded } from "../history.js";
import { compareIds, timeOf } from "../ids.js";
import { discard, retry } from "../outbox.js";
import { ChannelType, isThread } from "../store.js";
import { explain } from "../wording.js";
import { avatar } from "./avatar.js";
import { icon } from "./icons.js";
import { messageView, startsGroup } from "./message.js";
import { hasToolbar, noteAttention } from "./message_actions.js";
import { starterOf } from "./starters.js";
import { tour } from "./tour.js";

/** The function that `ref` calls has to stay the same, or it is called at each drawing. */
const attachers = new WeakMap();

export function messageList(app) {
    const { place, store } = app;
    const conversation = store.conversation(place.id);
    const name = store.placeName(place);
    const away = conversation.loaded && !(app.scroller.atEnd && conversation.atEnd);
    const more = conversation.loaded && !conversation.atEnd;
    return html`<div class="messages ${away ? "away" : ""} ${more ? "more-below" : ""}">
        <div
            class="scroller"
            ${ref(attacher(app))}
            @keydown=${moveFocus}
            @focusin=${(event) => onFocus(app, event)}
            @pointerover=${(event) => noteAttention(app, event)}
        >
            <div class="scrolled">
                ${top(app, conversation)}
                <ol
                    role="log"
                    aria-label="Messages in ${name}"
                    aria-relevant="additions"
                    aria-busy=${conversation.loading !== null}
                >
                    ${repeat(entries(app, conversation), (entry) => entry.key, entryView)}
                </ol>
                ${conversation.loading === "newer" ? spinner() : nothing}
            </div>
        </div>
        ${away && conversation.messages.length ? jumpBar(app, conversation) : nothing}
    </div>`;
}

/** Whether the open place has no message yet. */
export function isEmptyPlace(app) {
    const { place, store } = app;
    if (!place || place.type === ChannelType.FORUM) {
        return false;
    }
    const conversation = store.conversation(place.id);
    return conversation.loaded && conversation.atStart && conversation.messages.length === 0;
}

function attacher(app) {
    if (!attachers.has(app)) {
        attachers.set(app, (element) => app.scroller.attach(element));
    }
    return attachers.get(app);
}

// -- the list -------------------------------------------------------------------------------------------------------

function entries(app, conversation) {
    const { messages } = conversation;
    const made = [];
    let newLine = app.ui.newFrom;
    messages.forEach((message, index) => {
        const previous = messages[index - 1];
        const newDay = !previous || dayOf(message) !== dayOf(previous);
        if (newDay) {
            made.push({ app, key: `day-${dayOf(message)}`, day: message });
        }
        const isNew = newLine && compareIds(message.id, newLine) > 0 && message.author.id !== app.me.id;
        if (isNew) {
            made.push({ app, key: "new" });
            newLine = null;
        }
        made.push({ app, key: message.id, message, grouped: !newDay && !isNew && !startsGroup(app, previous, message) });
    });
    return made;
}

function entryView(entry) {
    if (entry.message) {
        return messageEntry(entry);
    }
    return entry.day ? dayLine(entry.day) : newLine();
}

function messageEntry({ app, message, grouped }) {
    const { ui, store } = app;
    const highlight = ui.highlight === message.id;
    const editing = ui.editing?.messageId === message.id ? ui.editing : null;
    const menu = ui.menu?.endsWith(`:${message.id}`) ? ui.menu : null;
    // The thread that began at the message has its id: its name and count stand below the message.
    const shown = [message, grouped, highlight, editing, menu, store.place(message.id)];
    const seen = [...shown, hasToolbar(app, message.id), app.touches(message.id), store.namesVersion, app.me];
    const local = message.local?.state;
    const classes = [
        "entry",
        grouped && "grouped",
        highlight && "highlight",
        store.mentionsMe(message) && message.author.id !== app.me.id && "mentions-me",
        local === "sending" && "pending",
        local === "failed" && "failed",
    ];
    return html`<li class=${classes.filter(Boolean).join(" ")} role="none" data-entry=${message.id}>
        ${guard(seen, () => messageView(app, message, { grouped, highlight }))}
        ${local === "failed" ? failure(app, message) : nothing}
    </li>`;
}

function failure(app, message) {
    return html`<div class="failure" role="alert">
        <p>${message.local.text}</p>
        <button class="button button-primary" @click=${() => retry(app, message)}>Try again</button>
        <button class="button" @click=${() => discard(app, message)}>Discard</button>
    </div>`;
}

const DAY = new Intl.DateTimeFormat("en", { dateStyle: "long" });

function dayOf(message) {
    return new Date(timeOf(message.id)).toDateString();
}

function dayLine(message) {
    const text = DAY.format(new Date(timeOf(message.id)));
    return html`<li class="day-line" role="separator" aria-label=${text}><span>${text}</span></li>`;
}

function newLine() {
    return html`<li class="day-line new-line" role="separator" aria-label="New messages"><span>New</span></li>`;
}

// -- the ends -------------------------------------------------------------------------------------------------------

function top(app, conversation) {
    if (conversation.error) {
        return loadFailure(app, conversation);
    }
    if (!conversation.loaded || conversation.loading === "older") {
        return spinner();
    }
    return conversation.atStart ? beginning(app) : html`<div class="more-above"></div>`;
}

function spinner() {
    return html`<div class="page-spinner"><span class="spinner"></span></div>`;
}

function loadFailure(app, conversation) {
    const again = () => {
        conversation.error = null;
        ensureLoaded(app, conversation.channelId);
        app.update();
    };
    return html`<div class="load-failure" role="alert">
        <p>The messages could not be loaded. ${explain(conversation.error)}</p>
        <button class="button" @click=${again}>Try again</button>
    </div>`;
}

function beginning(app) {
    const { place, store } = app;
    const name = store.placeName(place);
    return html`<div class="beginning">
        ${beginningPicture(app)}
        <p class="beginning-title">${place.type === ChannelType.TEXT ? `Welcome to #${name}` : name}</p>
        <p class="beginning-text">${beginningText(app, name)}</p>
        ${isThread(place) ? starter(app) : nothing} ${isEmptyPlace(app) ? tour(app, { brief: true }) : nothing}
    </div>`;
}

function beginningPicture(app) {
    const { place, store } = app;
    if (place.type === ChannelType.DM) {
        return avatar(
            app,
            place.recipients.find((one) => one.id !== store.me.id),
            "l",
        );
    }
    const picture = icon(isThread(place) ? "thread" : "hash");
    return html`<span class="beginning-icon" aria-hidden="true">${picture}</span>`;
}

function beginningText({ place, store }, name) {
    if (place.type === ChannelType.DM) {
        return `This is the beginning of your direct messages with ${name}.`;
    }
    if (isThread(place)) {
        return `Started by ${store.displayName(place.owner_id)}.`;
    }
    return `This is the beginning of #${name}.`;
}

/** The message that a thread was started from; it is in the channel above, and has the thread's id. */
function starter(app) {
    const { place, store } = app;
    const parent = store.parentOf(place);
    if (!parent || parent.type === ChannelType.FORUM) {
        return nothing;
    }
    const message = store.message(parent.id, place.id) ?? starterOf(app, parent.id, place.id);
    if (!message?.id) {
        return nothing;
    }
    const { menu, editing } = app.ui;
    const seen = [message, app.touches(message.id), store.namesVersion, menu, editing, hasToolbar(app, message.id)];
    return html`<div class="starter">
        ${guard(seen, () => messageView(app, message, { grouped: false, highlight: false }))}
    </div>`;
}

/** The way back to the newest message, while that is out of sight. */
function jumpBar(app, conversation) {
    const { missed } = conversation;
    const news = missed === 1 ? "1 new message" : `${missed} new messages`;
    return html`<button class="jump" @click=${() => app.jumpToPresent()}>
        ${missed ? html`<span>${news}</span>` : nothing}<span>Jump to present</span>${icon("jump")}
    </button>`;
}

// -- focus: the list is one stop for Tab, the arrows go from message to message -------------------------------------

function moveFocus(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const article = event.target.closest("article");
    if (!step || event.target !== article || event.altKey) {
        return;
    }
    event.preventDefault();
    const all = [...event.currentTarget.querySelectorAll("article")];
    all[all.indexOf(article) + step]?.focus();
}

function onFocus(app, event) {
    rove(event);
    noteAttention(app, event);
}

function rove(event) {
    const article = event.target.closest("article");
    if (article) {
        event.currentTarget.querySelectorAll('article[tabindex="0"]').forEach((one) => (one.tabIndex = -1));
        article.tabIndex = 0;
    }
}

/** After a drawing: unless the reader is in the list, Tab stops at the newest message. */
export function keepOneStop(root) {
    const scroller = root.querySelector(".scroller");
    if (!scroller || scroller.contains(document.activeElement)) {
        return;
    }
    const all = scroller.querySelectorAll("article");
    const newest = all[all.length - 1];
    if (newest && newest.tabIndex !== 0) {
        rove({ target: newest, currentTarget: scroller });
    }
}
