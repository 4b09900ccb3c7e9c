import { toTyped } from "../mention_text.js";

export function plainText(app, text) {
    return toTyped(app.store, text).replace(/\s+/g, " ");
}

export function markdown(_app, text) {
    return text;
}
