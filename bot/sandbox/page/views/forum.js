/** A forum: its posts with their tags, and the form for a new one. */

import { html } from "../vendor/lit-html/lit-html.js";

export function forum(_app) {
    return html``;
}
