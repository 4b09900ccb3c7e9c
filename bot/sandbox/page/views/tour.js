import { nothing } from "../vendor/lit-html/lit-html.js";

export function tour(_app) {
    return nothing;
}

export function tourButton(_app) {
    return nothing;
}
