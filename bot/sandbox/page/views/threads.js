/** The list of a channel's threads, closed ones too. */

import { nothing } from "../vendor/lit-html/lit-html.js";

export function threadsButton(_app) {
    return nothing;
}
