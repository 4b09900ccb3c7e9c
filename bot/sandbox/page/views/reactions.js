/** Reactions below a message, and the small picker that adds one. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { explain } from "../wording.js";
import { floating } from "./floating.js";
import { icon } from "./icons.js";

const OFTEN = [
    ["👍", "thumbs up"],
    ["👎", "thumbs down"],
    ["❤️", "heart"],
    ["😂", "tears of joy"],
    ["🎉", "party popper"],
    ["👀", "eyes"],
    ["✅", "check mark"],
    ["❌", "cross mark"],
    ["🔥", "fire"],
    ["🚀", "rocket"],
    ["🙏", "folded hands"],
    ["👏", "clapping"],
    ["😀", "grinning"],
    ["😅", "sweat smile"],
    ["🤔", "thinking"],
    ["😮", "surprised"],
    ["😢", "crying"],
    ["😡", "angry"],
    ["💯", "hundred"],
    ["⭐", "star"],
    ["🐛", "bug"],
    ["🔧", "wrench"],
    ["📌", "pin"],
    ["⏳", "hourglass"],
    ["☕", "coffee"],
    ["1️⃣", "one"],
    ["2️⃣", "two"],
    ["3️⃣", "three"],
    ["➕", "plus"],
    ["❓", "question"],
];

/** Return the reactions of a message. */
export function reactionsView(app, message) {
    const reactions = message.reactions ?? [];
    if (!reactions.length) {
        return nothing;
    }
    return html`<div class="reactions">
        ${reactions.map((one) => reactionView(app, message, one))} ${addButton(app, message, "chip")}
    </div>`;
}

function reactionView(app, message, { emoji, count, me }) {
    const name = emoji.id ? `:${emoji.name}:` : emoji.name;
    return html`<button
        type="button"
        class="reaction"
        aria-pressed=${String(Boolean(me))}
        aria-label="${name}, ${count} ${count === 1 ? "reaction" : "reactions"}"
        @click=${() => react(app, message, emoji, !me)}
    >
        <span class="reaction-emoji">${name}</span><span class="reaction-count">${count}</span>
    </button>`;
}

/** Return the button that opens the picker, and the picker if it is open; `where`: "chip" or "tool". */
export function addButton(app, message, where) {
    if (!app.store.can(message.channel_id, "add_reactions")) {
        return nothing;
    }
    const menu = `emoji:${message.id}`;
    const open = app.ui.menu === menu && app.ui.menuAt === where;
    const toggle = () => {
        app.ui.menu = open ? null : menu;
        app.ui.menuAt = where;
        app.touch(message.id);
        app.drawNow();
    };
    const words = where === "tool" ? html`<span class="tool-name" aria-hidden="true">Add reaction</span>` : nothing;
    const name = where === "tool" ? "icon-button tool" : "reaction add-reaction";
    return html`<span class="picker-anchor" @keydown=${(event) => onPickerKey(app, message, event)}>
        <button
            type="button"
            class=${name}
            aria-label="Add reaction"
            title="Add reaction"
            aria-expanded=${String(open)}
            data-menu=${menu}
            @click=${toggle}
        >
            ${icon("smile")} ${words}
        </button>
        ${open ? pickerView(app, message, menu) : nothing}
    </span>`;
}

function pickerView(app, message, menu) {
    return html`<div
        class="emoji-picker at-end"
        popover="manual"
        role="group"
        aria-label="Choose a reaction"
        data-menu=${menu}
        ${ref(floating)}
    >
        ${OFTEN.map(
            ([emoji, name]) =>
                html`<button
                    type="button"
                    class="emoji"
                    aria-label="${emoji} ${name}"
                    title=${name}
                    @click=${() => pick(app, message, emoji)}
                >
                    ${emoji}
                </button>`,
        )}
    </div>`;
}

function pick(app, message, emoji) {
    app.ui.menu = null;
    app.touch(message.id);
    react(app, message, { name: emoji }, true);
}

function onPickerKey(app, message, event) {
    const emoji = [...event.currentTarget.querySelectorAll(".emoji")];
    if (!emoji.length) {
        return;
    }
    if (event.key === "Escape") {
        app.ui.menu = null;
        app.touch(message.id);
        event.currentTarget.querySelector("button").focus();
    } else {
        const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 6, ArrowUp: -6 };
        if (!(event.key in steps)) {
            return;
        }
        const at = emoji.indexOf(document.activeElement);
        emoji.at((Math.max(at, 0) + (at < 0 ? 0 : steps[event.key]) + emoji.length) % emoji.length).focus();
    }
    event.preventDefault();
    event.stopPropagation();
}

/** Add the person's reaction, or take it away. */
export async function react(app, message, emoji, on) {
    const name = encodeURIComponent(emoji.id ? `${emoji.name}:${emoji.id}` : emoji.name);
    const path = `/channels/${message.channel_id}/messages/${message.id}/reactions/${name}/@me`;
    try {
        // The gateway says what is there now, also for this person's own press.
        await (on ? app.api.put(path) : app.api.delete(path));
    } catch (error) {
        app.toast(explain(error), "error");
    }
}
