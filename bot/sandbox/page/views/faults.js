import { nothing } from "../vendor/lit-html/lit-html.js";

export function faults(_app) {
    return nothing;
}

export function connection(_app) {
    return nothing;
}

export function applySandboxState(_app) {
    return nothing;
}
