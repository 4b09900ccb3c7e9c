import { nothing } from "../vendor/lit-html/lit-html.js";

export function commandListView(_app) {
    return nothing;
}

export function commandFormView(_app) {
    return nothing;
}

export function onComposerInput(_app) {
    return false;
}

export function onComposerKey(_app) {
    return false;
}

export function commandChosen(_app) {
    return false;
}
