/** Keys that work anywhere on the page. Those of one part are with that part. */

/** Elements that take text or keys themselves. */
const TAKES_KEYS = "input, textarea, select, button, a, summary, dialog, [role=menu], [contenteditable]";

export function listenToKeys(app) {
    document.addEventListener("keydown", (event) => onKey(app, event));
    document.addEventListener("pointerdown", (event) => closeMenuOutside(app, event));
}

function onKey(app, event) {
    if (event.defaultPrevented || event.isComposing) {
        return;
    }
    if (event.key === "Escape") {
        escape(app);
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        event.preventDefault();
        goToNeighbour(app, event.key === "ArrowUp" ? -1 : 1);
    } else if (isText(event) && !event.target.closest(TAKES_KEYS) && !document.querySelector("dialog[open]")) {
        // The key's own text lands in the composer, as the focus moves before it is inserted.
        document.getElementById("composer-input")?.focus();
    }
}

function isText(event) {
    return event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
}

/** Close what was opened last; with nothing open, go to the newest message. */
function escape(app) {
    const { ui } = app;
    if (ui.menu) {
        const opener = document.querySelector(`button[data-menu="${CSS.escape(ui.menu)}"]`);
        app.closeMenu();
        opener?.focus();
    } else if (ui.drawer) {
        app.setDrawer(null);
    } else if (ui.replyTo) {
        ui.replyTo = null;
        app.focusComposer();
    } else if (ui.channelId && document.getElementById("composer-input")) {
        app.jumpToPresent();
    }
}

function goToNeighbour(app, step) {
    const channels = app.store.sidebar().flatMap(({ channel, threads }) => [channel, ...threads]);
    const ids = [...channels, ...app.store.dms()].map((one) => one.id);
    const next = ids[ids.indexOf(app.ui.channelId) + step];
    if (next) {
        app.open(next);
    }
}

function closeMenuOutside(app, event) {
    const inside = event.target.closest?.("[data-menu]")?.dataset.menu;
    if (app.ui.menu && inside !== app.ui.menu) {
        app.closeMenu();
    }
}
