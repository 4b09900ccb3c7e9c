/**
 * A drop-down list to choose one or several values, with descriptions: in messages and in forms.
 *
 * One is open at a time, in `inside(app).dropdown`. With a search field, what is typed filters the list; without, a
 * letter jumps to the next value that begins with it. A list of several is handed over when it closes.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { floating, inSight } from "./floating.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";

const MOST_SHOWN = 50;

/**
 * Return the field and, if it is open, its list.
 *
 * @param of `{key, label, labelledBy?, placeholder, options: [{value, label, description?, emoji?}], chosen: [value],
 *     least, most, disabled?, busy?, search?, onChange(values), refresh(), first?}`
 */
export function dropdown(app, of) {
    const state = inside(app);
    const open = state.dropdown?.key === of.key ? state.dropdown : null;
    const chosen = open?.draft ?? of.chosen;
    const leave = (event) => {
        if (open && !event.currentTarget.contains(event.relatedTarget)) {
            close(app, of, true);
        }
    };
    return html`<div class="dropdown" @focusout=${leave} @keydown=${(event) => onKey(app, of, event)}>
        ${of.search ? searchField(app, of, open, chosen) : pressField(app, of, open, chosen)}
        ${open ? listView(app, of, open, chosen) : nothing}
    </div>`;
}

function shownOf(of, open) {
    const words = open?.filter.trim().toLowerCase();
    const all = words ? of.options.filter((one) => one.label.toLowerCase().includes(words)) : of.options;
    return all.slice(0, MOST_SHOWN);
}

function words(of, chosen) {
    const labels = chosen.map((value) => of.options.find((one) => one.value === value)?.label ?? value);
    return labels.join(", ");
}

function pressField(app, of, open, chosen) {
    const text = words(of, chosen);
    return html`<button
        type="button"
        role="combobox"
        class="dropdown-field"
        aria-haspopup="listbox"
        aria-expanded=${String(Boolean(open))}
        aria-controls=${open ? listId(of) : nothing}
        aria-activedescendant=${open ? `${listId(of)}-${open.active}` : nothing}
        aria-label=${of.labelledBy ? nothing : of.label}
        aria-labelledby=${of.labelledBy ?? nothing}
        aria-busy=${of.busy ? "true" : nothing}
        ?data-first=${of.first}
        ?disabled=${of.disabled}
        @click=${() => (open ? close(app, of, true) : show(app, of))}
    >
        <span class=${text ? "dropdown-text" : "dropdown-text empty"}><bdi>${text || of.placeholder}</bdi></span>
        ${icon("chevron")}
    </button>`;
}

function searchField(app, of, open, chosen) {
    const type = (event) => {
        const state = inside(app).dropdown ?? show(app, of);
        Object.assign(state, { filter: event.target.value, active: 0 });
        of.refresh();
    };
    return html`<input
        role="combobox"
        class="dropdown-field"
        autocomplete="off"
        aria-autocomplete="list"
        aria-expanded=${String(Boolean(open))}
        aria-controls=${open ? listId(of) : nothing}
        aria-activedescendant=${open ? `${listId(of)}-${open.active}` : nothing}
        aria-label=${of.labelledBy ? nothing : of.label}
        aria-labelledby=${of.labelledBy ?? nothing}
        placeholder=${words(of, chosen) || of.placeholder}
        ?data-first=${of.first}
        ?disabled=${of.disabled}
        .value=${open?.filter ?? ""}
        @input=${type}
        @click=${() => open ?? show(app, of)}
    />`;
}

function listView(app, of, open, chosen) {
    const shown = shownOf(of, open);
    const rest = of.options.length - shown.length;
    return html`<ul
        id=${listId(of)}
        class="popup-list as-wide"
        popover="manual"
        role="listbox"
        aria-label=${of.label}
        aria-multiselectable=${of.most > 1 ? "true" : nothing}
        ${ref(floating)}
    >
        ${shown.map((one, at) => optionView(app, of, open, chosen, one, at))}
        ${shown.length ? nothing : html`<li class="popup-none">Nothing found</li>`}
        ${rest > 0 && !open.filter ? html`<li class="popup-none">${rest} more: type to search</li>` : nothing}
    </ul>`;
}

function optionView(app, of, open, chosen, option, at) {
    const selected = chosen.includes(option.value);
    const emoji = option.emoji?.id ? "" : option.emoji?.name;
    const point = () => {
        if (open.active !== at) {
            open.active = at;
            of.refresh();
        }
    };
    // Not on click: by then the field has lost the focus, and the list is gone.
    const press = (event) => {
        event.preventDefault();
        choose(app, of, option);
    };
    return html`<li
        id="${listId(of)}-${at}"
        role="option"
        class=${at === open.active ? "popup-option active" : "popup-option"}
        aria-selected=${String(selected)}
        @mousedown=${press}
        @mousemove=${point}
        ${at === open.active ? ref(inSight) : nothing}
    >
        ${emoji ? html`<span class="option-emoji">${emoji}</span>` : nothing}
        <span class="popup-words">
            <bdi class="popup-label">${option.label}</bdi>
            ${option.description ? html`<bdi class="popup-about">${option.description}</bdi>` : nothing}
        </span>
        ${selected ? icon("check") : nothing}
    </li>`;
}

function listId(of) {
    return `list-${of.key.replace(/[^\w-]/g, "-")}`;
}

function show(app, of) {
    const at = of.options.findIndex((one) => of.chosen.includes(one.value));
    const opened = { key: of.key, active: Math.max(0, at), filter: "", draft: [...of.chosen] };
    inside(app).dropdown = opened;
    of.refresh();
    return opened;
}

/** Close the list; a choice of several counts then, if it is one that may be made. */
function close(app, of, keep) {
    const state = inside(app);
    const draft = state.dropdown?.draft ?? [];
    state.dropdown = null;
    const changed = draft.length !== of.chosen.length || draft.some((one) => !of.chosen.includes(one));
    if (keep && of.most > 1 && changed && draft.length >= of.least) {
        of.onChange(draft);
    }
    of.refresh();
}

function choose(app, of, option) {
    const state = inside(app).dropdown;
    const { value } = option;
    const already = state.draft.includes(value);
    if (of.most > 1) {
        if (already) {
            state.draft = state.draft.filter((one) => one !== value);
        } else if (state.draft.length < of.most) {
            state.draft = [...state.draft, value];
        }
        of.refresh();
        return;
    }
    inside(app).dropdown = null;
    of.onChange(already && of.least === 0 ? [] : [value]);
    of.refresh();
}

function onKey(app, of, event) {
    const open = inside(app).dropdown?.key === of.key ? inside(app).dropdown : null;
    if (of.disabled || event.altKey || event.ctrlKey || event.metaKey) {
        return;
    }
    if (!open) {
        if (event.key !== "ArrowDown" && event.key !== "ArrowUp") {
            return;
        }
        show(app, of);
    } else if (!onOpenKey(app, of, open, event)) {
        return;
    }
    event.preventDefault();
    event.stopPropagation();
}

function onOpenKey(app, of, open, event) {
    const shown = shownOf(of, open);
    const steps = { ArrowDown: open.active + 1, ArrowUp: open.active - 1, Home: 0, End: shown.length - 1 };
    if (event.key in steps && shown.length) {
        open.active = (steps[event.key] + shown.length) % shown.length;
        of.refresh();
        return true;
    }
    if (event.key === "Enter" || (event.key === " " && !of.search)) {
        if (shown[open.active]) {
            choose(app, of, shown[open.active]);
        }
        return true;
    }
    if (event.key === "Escape") {
        close(app, of, false);
        return true;
    }
    if (event.key.length === 1 && !of.search) {
        const letter = event.key.toLowerCase();
        const begins = (one) => one.label.toLowerCase().startsWith(letter);
        const next = shown.findIndex((one, at) => at > open.active && begins(one));
        open.active = next < 0 ? Math.max(0, shown.findIndex(begins)) : next;
        of.refresh();
        return true;
    }
    return false;
}
