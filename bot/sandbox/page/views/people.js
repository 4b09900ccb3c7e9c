import { nothing } from "../vendor/lit-html/lit-html.js";

export function peopleSwitch(_app) {
    return nothing;
}
