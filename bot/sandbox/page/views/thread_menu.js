/** What can be done with the open thread. */

import { nothing } from "../vendor/lit-html/lit-html.js";

export function threadMenu(_app) {
    return nothing;
}
