/** A person's picture: initials on a coloured disc, as nobody here has uploaded one. */

import { html } from "../vendor/lit-html/lit-html.js";

import { icon } from "./icons.js";

const COLOURS = 8;

/** `size`: "s", "m" or "l". Hidden from screen readers: the name stands beside it. */
export function avatar(app, user, size = "m") {
    const name = user ? app.store.displayName(user.id) : "?";
    const colour = user ? colourOf(user.id) : 0;
    const content = user?.bot ? icon("bot") : initials(name);
    return html`<span class="avatar avatar-${size} avatar-colour-${colour}" aria-hidden="true">${content}</span>`;
}

/** Up to two letters, of the first two words. */
function initials(name) {
    const words = name.split(/[\s_.-]+/).filter(Boolean);
    return words
        .slice(0, 2)
        .map((word) => [...word][0].toUpperCase())
        .join("");
}

/** People made in the same moment differ in the end of their id only. */
function colourOf(id) {
    const bits = BigInt(id);
    return Number((bits >> 22n) + (bits & 0x3fffffn)) % COLOURS;
}
