/**
 * Suggestions while somebody types @ or #: people and roles, channels and threads.
 *
 * They put the name into the text; `mention_text.js` makes the wire's form of it when the message is sent.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { avatar } from "./avatar.js";
import { icon } from "./icons.js";

const MOST_SHOWN = 8;

/** The word before the caret: its sign at a beginning, and what was typed of the name. */
const BEGUN = /(?:^|[\s(])([@#])([^\s@#][^@#\n]{0,30}|)$/;

/** Look at what stands before the caret of a text field. */
export function onMentionInput(app, field) {
    const before = field.value.slice(0, field.selectionStart);
    const begun = field.selectionStart === field.selectionEnd && BEGUN.exec(before);
    const options = begun ? suggestions(app, begun[1], begun[2].toLowerCase()) : [];
    const earlier = app.ui.mention;
    if (!options.length) {
        app.ui.mention = null;
    } else {
        const start = before.length - begun[2].length - 1;
        app.ui.mention = { field: field.id, kind: begun[1], start, end: before.length, options, index: 0 };
    }
    if (earlier || app.ui.mention) {
        app.update();
        touchEditor(app);
    }
}

/** True if the key was for the suggestions. */
export function onMentionKey(app, event) {
    const { mention } = app.ui;
    if (!mention || mention.field !== event.target.id) {
        return false;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
        const count = mention.options.length;
        app.ui.mention = { ...mention, index: (mention.index + step + count) % count };
    } else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") {
        accept(app, event.target, mention.options[mention.index]);
    } else if (event.key === "Escape") {
        app.ui.mention = null;
    } else {
        return false;
    }
    event.preventDefault();
    app.update();
    touchEditor(app);
    return true;
}

/** The list above the field of that id. */
export function mentionList(app, fieldId) {
    const { mention } = app.ui;
    if (mention?.field !== fieldId) {
        return nothing;
    }
    const label = mention.kind === "@" ? "People" : "Channels";
    return html`<div class="popup mention-list" role="listbox" id="mention-list" aria-label=${label}>
        <p class="popup-title" aria-hidden="true">${label}</p>
        ${mention.options.map((one, index) => optionView(app, one, index === mention.index, fieldId))}
    </div>`;
}

/** What the field says about its list. */
export function mentionState(app, fieldId) {
    const open = app.ui.mention?.field === fieldId;
    return { open, active: open ? optionId(app.ui.mention.options[app.ui.mention.index]) : null };
}

function optionView(app, option, active, fieldId) {
    // Pressing must not take the focus out of the field.
    const choose = (event) => {
        event.preventDefault();
        accept(app, document.getElementById(fieldId), option);
    };
    return html`<div
        class="popup-option ${active ? "active" : ""}"
        role="option"
        id=${optionId(option)}
        aria-selected=${active}
        @pointerdown=${choose}
    >
        ${option.user ? avatar(app, option.user, "s") : icon(option.picture)}
        <span class="popup-name">${option.name}</span>
        ${option.note ? html`<span class="popup-note">${option.note}</span>` : nothing}
    </div>`;
}

function optionId(option) {
    return `mention-${option.id}`;
}

function accept(app, field, option) {
    const { start, end } = app.ui.mention;
    app.ui.mention = null;
    field.setRangeText(`${option.sign}${option.name} `, start, end, "end");
    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
    app.update();
}

/** The editor is inside of a message, which is made anew only when it is told to. */
function touchEditor(app) {
    if (app.ui.editing) {
        app.touch(app.ui.editing.messageId);
    }
}

function suggestions(app, sign, typed) {
    const all = sign === "@" ? [...people(app), ...roles(app)] : places(app);
    const fitting = all.filter((one) => one.name.toLowerCase().includes(typed));
    const rank = (one) => Number(!one.name.toLowerCase().startsWith(typed));
    const exact = fitting.length === 1 && fitting[0].name.toLowerCase() === typed;
    return exact ? [] : fitting.sort((a, b) => rank(a) - rank(b)).slice(0, MOST_SHOWN);
}

function people(app) {
    const { store } = app;
    return [...store.members.values()].map(({ user }) => {
        const name = store.displayName(user.id);
        return { id: user.id, sign: "@", name, user, note: user.bot ? "Bot" : "" };
    });
}

function roles(app) {
    const { store } = app;
    const mentionable = [...store.roles.values()].filter((one) => one.id !== store.guild?.id && !one.managed);
    return mentionable.map(({ id, name }) => ({ id, sign: "@", name, picture: "at", note: "Role" }));
}

function places(app) {
    const { store } = app;
    const all = store.sidebar().flatMap(({ channel, threads }) => [channel, ...threads]);
    return all.map((place) => {
        const parent = store.parentOf(place);
        return {
            id: place.id,
            sign: "#",
            name: place.name,
            picture: parent ? "thread" : "hash",
            note: parent?.name ?? "",
        };
    });
}
