import { html } from "../vendor/lit-html/lit-html.js";

import { timeOf } from "../ids.js";
import { avatar } from "./avatar.js";

export function startsGroup(previous, message) {
    return !previous || previous.author.id !== message.author.id || timeOf(message.id) - timeOf(previous.id) > 420_000;
}

export function messageView(app, message, { grouped }) {
    const name = app.store.displayName(message.author.id);
    const time = new Date(timeOf(message.id)).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit" });
    return html`<article tabindex="-1" aria-label="${name}, ${time}" data-message-id=${message.id}>
        ${grouped ? "" : html`${avatar(app, message.author)} <strong>${name}</strong> <time>${time}</time>`}
        <div class="content">${message.content}</div>
    </article>`;
}
