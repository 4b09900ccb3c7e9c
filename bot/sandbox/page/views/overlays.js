import { nothing } from "../vendor/lit-html/lit-html.js";

export function overlaysView(_app) {
    return nothing;
}
