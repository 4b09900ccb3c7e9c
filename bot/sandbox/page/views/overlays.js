/** What lies over the whole page: the form that the bot opened, or the dialog of an action. */

import { nothing } from "../vendor/lit-html/lit-html.js";
import { keyed } from "../vendor/lit-html/directives/keyed.js";

import { inside } from "./inside.js";
import { actionDialog } from "./message_actions.js";
import { modalView } from "./modal.js";

/** Return the open dialog, or nothing. */
export function overlaysView(app) {
    const { dialog } = inside(app);
    if (!dialog) {
        return nothing;
    }
    // Another form is another element, so that it opens anew and its first field takes the focus.
    return keyed(dialog, dialog.kind === "modal" ? modalView(app, dialog) : actionDialog(app, dialog));
}
