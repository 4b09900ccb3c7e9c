/**
 * What the page knows of the inside of messages beside the messages: what is open, busy, half filled in or has failed.
 *
 * It hangs on `app.ui`, and is made when it is first asked for; a page that acts as another person begins anew.
 */

/** Return the state; `app.touch(messageId)` after a change of what a message shows. */
export function inside(app) {
    const current = app.ui.inside;
    if (current?.store === app.store) {
        return current;
    }
    app.ui.inside = {
        store: app.store,
        /** Interactions that wait for the bot: nonce -> {resolve, reject, timer}. */
        waiting: new Map(),
        /** Message id -> the custom_id that was used and is not acknowledged. */
        busy: new Map(),
        /** Message id -> why its interaction failed. */
        failed: new Map(),
        /** Values chosen in a message's menus: "message:custom_id" -> values. */
        chosen: new Map(),
        /** The open drop-down list: {key, active, filter, draft}. */
        dropdown: null,
        /** The open dialog: {kind, ...}. */
        dialog: null,
        /** What was typed into a form that was closed: custom_id -> Map of values. */
        drafts: new Map(),
        /** The slash command that is being written: {filter, active} or {entry, values, ...}. */
        slash: null,
        /** Commands on their way: {channelId, name}. */
        sent: [],
        /** Commands of a place: where, since when (ms), the loading while it lasts, why it failed. */
        indexOf: null,
        indexAt: 0,
        indexLoading: null,
        indexError: "",
        /** Text attachments that are shown: attachment id -> {text, error, whole}. */
        previews: new Map(),
    };
    return app.ui.inside;
}
