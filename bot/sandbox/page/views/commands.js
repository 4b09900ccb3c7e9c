/**
 * Slash commands in the composer: the list while a name is typed, and the fields of the chosen one.
 *
 * The state is `inside(app).slash`: `{channelId, filter, active}` while the list is open, and what `command_form` keeps
 * once a command is chosen. The text of the composer stays what was typed; Escape leads back to it.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { formView, newForm, point, suggestionsView } from "./command_form.js";
import { entriesOf, found, loadCommands } from "./command_index.js";
import { inSight } from "./floating.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";

/** Return the state of the open place, or null. */
function current(app) {
    const { slash } = inside(app);
    return slash?.channelId === app.ui.channelId ? slash : null;
}

/** Return whether a command is chosen, whose fields stand in place of the text. */
export function commandChosen(app) {
    return Boolean(current(app)?.entry);
}

/** Open, filter or close the list, as the text begins with a slash or not. */
export function onComposerInput(app, text) {
    const state = inside(app);
    const isCommand = /^\/[^\n/]*$/.test(text) && app.store.can(app.ui.channelId, "use_application_commands");
    if (!isCommand) {
        state.slash = null;
        setActive(app, null);
        return;
    }
    loadCommands(app);
    const typed = text.slice(1);
    const named = typed.endsWith(" ") && entriesOf(app).find((one) => one.name === typed.trim());
    if (named) {
        choose(app, named);
        return;
    }
    state.slash = { channelId: app.ui.channelId, filter: typed, active: 0 };
    app.update();
}

/** Take a key of the composer while the list is open; true: it was for the list. */
export function onComposerKey(app, event) {
    const slash = current(app);
    if (!slash || slash.entry) {
        return false;
    }
    const entries = found(app, slash.filter);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
        inside(app).slash = null;
        setActive(app, null);
    } else if (!entries.length && chooses(event) && inside(app).indexLoading) {
        chooseOnceLoaded(app, slash);
    } else if (!entries.length) {
        return false;
    } else if (step) {
        slash.active = (slash.active + step + entries.length) % entries.length;
    } else if (chooses(event)) {
        choose(app, entries[slash.active]);
    } else {
        return false;
    }
    event.preventDefault();
    // The page's own Escape would scroll the messages.
    event.stopPropagation();
    app.update();
    return true;
}

function chooses(event) {
    return (event.key === "Enter" && !event.shiftKey) || event.key === "Tab";
}

/** A command typed faster than the list came must not be posted as a text. */
async function chooseOnceLoaded(app, slash) {
    await inside(app).indexLoading;
    const [first] = found(app, slash.filter);
    if (first && current(app) === slash) {
        choose(app, first);
    }
}

/** Begin a command by its name, as pressing its mention does. */
export async function startCommand(app, name) {
    await loadCommands(app);
    const entry = entriesOf(app).find((one) => one.name === name);
    if (entry) {
        choose(app, entry);
        return;
    }
    app.setDraft(app.ui.channelId, `/${name}`);
    app.focusComposer();
}

async function choose(app, entry) {
    inside(app).slash = newForm(app, entry);
    setActive(app, null);
    await app.drawNow();
    document.querySelector(".command-form [data-first]")?.focus();
}

function setActive(app, id) {
    app.ui.commandActiveId = id;
}

/** Return the list of commands, the suggestions for a field, or what is on its way to the bot. */
export function commandListView(app) {
    const slash = current(app);
    if (slash?.entry) {
        return suggestionsView(app, slash);
    }
    return html`${sentView(app)} ${slash ? listView(app, slash) : nothing}`;
}

/** Return the fields of the chosen command. */
export function commandFormView(app) {
    const slash = current(app);
    return slash?.entry ? formView(app, slash) : nothing;
}

function listView(app, slash) {
    const entries = found(app, slash.filter);
    if (!entries.length) {
        setActive(app, null);
        return emptyList(app, slash);
    }
    slash.active = Math.min(slash.active, entries.length - 1);
    setActive(app, `command-${slash.active}`);
    return html`<div class="popup command-list">
        <p class="popup-title" aria-hidden="true">Commands${slash.filter ? ` matching /${slash.filter}` : ""}</p>
        <ul role="listbox" id="command-list" aria-label="Commands">
            ${entries.map((entry, at) => entryView(app, entry, at, at === slash.active))}
        </ul>
    </div>`;
}

function emptyList(app, slash) {
    const { indexError } = inside(app);
    if (indexError) {
        return html`<div class="popup"><p class="popup-none" role="status">The commands could not be loaded.</p></div>`;
    }
    if (!app.store.commands) {
        return html`<div class="popup"><p class="popup-none" role="status">Loading commands…</p></div>`;
    }
    const none = entriesOf(app).length === 0 && !slash.filter;
    const text = none ? "There are no commands here. Is the bot running?" : "";
    return text ? html`<div class="popup"><p class="popup-none" role="status">${text}</p></div>` : nothing;
}

function entryView(app, entry, at, active) {
    // The focus must stay in the text.
    const press = (event) => {
        event.preventDefault();
        choose(app, entry);
    };
    return html`<li
        id="command-${at}"
        role="option"
        aria-selected=${String(active)}
        class=${active ? "popup-option active" : "popup-option"}
        @mousedown=${press}
        @mousemove=${() => point(app, inside(app).slash, at)}
        ${active ? ref(inSight) : nothing}
    >
        <span class="popup-words">
            <span class="popup-label command-label"
                >/${entry.name}
                ${entry.options.map((one) => html`<span class="command-option">${one.name}</span> `)}</span
            >
            <bdi class="popup-about">${entry.description}</bdi>
        </span>
        <bdi class="popup-note">${entry.application}</bdi>
    </li>`;
}

function sentView(app) {
    const waiting = inside(app).sent.filter((one) => one.channelId === app.ui.channelId);
    if (!waiting.length) {
        return nothing;
    }
    return html`<p class="command-sent" role="status">
        ${icon("clock")} Sending ${waiting.map((one) => html`<span class="command-name">/${one.name}</span> `)}…
    </p>`;
}
