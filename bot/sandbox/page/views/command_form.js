/**
 * The fields of a slash command, what is suggested for them, and the sending of it.
 *
 * All options are shown at once: on a phone that is easier to reach than a second list. What a field holds is
 * `{text, value?, file?, error?}`: `value` is what was chosen from suggestions, and goes when the text changes.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { AUTOCOMPLETE, COMMAND, InteractionFailed, interact, whyRefused } from "../interactions.js";
import { inSight } from "./floating.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";
import { optionsOf } from "./menu_options.js";
import { openModal } from "./modal.js";

const SUB_COMMAND = 1;
const SUB_COMMAND_GROUP = 2;
const INTEGER = 4;
const BOOLEAN = 5;
const NUMBER = 10;
const ATTACHMENT = 11;
/** Option type -> the type of the menu that offers the same. */
const PICKED = { 6: 5, 7: 8, 8: 6, 9: 7 };
const YES_NO = [
    { label: "True", value: true },
    { label: "False", value: false },
];
const TYPING_MS = 200;
const MOST_SHOWN = 25;
const MOST_TYPED = 6000;

/** Return the state of a command that was just chosen. */
export function newForm(app, entry) {
    const fields = new Map(entry.options.map((one) => [one.name, { text: "" }]));
    return { channelId: app.ui.channelId, entry, fields, list: null, focused: null };
}

/** Return whether the values of an option are chosen rather than typed. */
function isPicked(option) {
    return Boolean(option.choices?.length || option.type === BOOLEAN || PICKED[option.type]);
}

function isCombobox(option) {
    return isPicked(option) || Boolean(option.autocomplete);
}

// --- the fields ------------------------------------------------------------------------------------------------------

/** Return the fields, in place of the composer's text. */
export function formView(app, form) {
    const { entry, focused } = form;
    const about = entry.options.find((one) => one.name === focused)?.description ?? entry.description;
    const wrong = entry.options.map((one) => form.fields.get(one.name).error).find(Boolean);
    const shown = entry.options.filter((one, at) => !isLaterFile(form, one, at));
    return html`<div
        class="command-form"
        role="group"
        aria-label="/${entry.name}"
        @keydown=${(event) => onFormKey(app, form, event)}
    >
        <div class="command-fields">
            <span class="command-chosen">/${entry.name}</span>
            ${shown.map((option, at) => fieldView(app, form, option, at === 0))}
            ${buttonsView(app, form, shown.length === 0)}
        </div>
        <p class=${wrong ? "command-help field-error" : "command-help"} role=${wrong ? "alert" : nothing}>
            <bdi>${wrong ?? about}</bdi>
        </p>
    </div>`;
}

/** Sent and given up side by side, on whichever line there is room for both. */
function buttonsView(app, form, first) {
    return html`<span class="command-buttons">
        <button
            type="button"
            class="icon-button send"
            aria-label="Send command"
            title="Send command (Enter)"
            ?data-first=${first}
            @click=${() => send(app, form)}
        >
            ${icon("send")}
        </button>
        <button
            type="button"
            class="icon-button"
            aria-label="Cancel command"
            title="Cancel (Escape)"
            @click=${() => giveUp(app)}
        >
            ${icon("close")}
        </button>
    </span>`;
}

/** Return whether an option is one more file, and the file before it is not given yet. */
function isLaterFile(form, option, at) {
    const before = form.entry.options.slice(0, at).findLast((one) => one.type === ATTACHMENT);
    return option.type === ATTACHMENT && !option.required && before !== undefined && !form.fields.get(before.name).file;
}

function fieldView(app, form, option, first) {
    const field = form.fields.get(option.name);
    const classes = ["command-field", option.required && "required", field.error && "wrong"].filter(Boolean).join(" ");
    return html`<label class=${classes}>
        <span class="command-field-name" aria-hidden="true"
            >${option.name}${option.required ? html`<span class="required">*</span>` : nothing}</span
        >
        ${option.type === ATTACHMENT ? fileView(app, form, option, first) : inputView(app, form, option, first)}
    </label>`;
}

function inputView(app, form, option, first) {
    const field = form.fields.get(option.name);
    const combobox = isCombobox(option);
    const open = combobox && form.list?.name === option.name;
    const number = option.type === INTEGER || option.type === NUMBER;
    return html`<input
        type="text"
        role=${combobox ? "combobox" : nothing}
        aria-label=${option.name}
        aria-description=${option.description}
        aria-required=${String(Boolean(option.required))}
        aria-invalid=${String(Boolean(field.error))}
        aria-autocomplete=${combobox ? "list" : nothing}
        aria-expanded=${combobox ? String(open) : nothing}
        aria-controls=${open ? "suggestion-list" : nothing}
        aria-activedescendant=${open && form.list.active >= 0 ? `suggestion-${form.list.active}` : nothing}
        inputmode=${number ? "decimal" : nothing}
        autocomplete="off"
        maxlength=${option.max_length ?? MOST_TYPED}
        placeholder=${option.required ? "required" : "optional"}
        ?data-first=${first}
        .value=${live(field.text)}
        @focus=${() => onFocus(app, form, option)}
        @blur=${() => onBlur(app, form, option)}
        @input=${(event) => onType(app, form, option, event.target.value)}
        @keydown=${(event) => onFieldKey(app, form, option, event)}
    />`;
}

function fileView(app, form, option, first) {
    const field = form.fields.get(option.name);
    const change = (event) => {
        const [file] = event.target.files;
        form.fields.set(option.name, file ? { text: file.name, file } : { text: "" });
        app.update();
    };
    return html`<span class="command-file"><bdi>${field.file ? field.file.name : "Choose a file"}</bdi></span>
        <input
            class="visually-hidden"
            type="file"
            aria-label=${option.name}
            ?data-first=${first}
            @focus=${() => onFocus(app, form, option)}
            @change=${change}
        />`;
}

function onFocus(app, form, option) {
    form.focused = option.name;
    if (isCombobox(option)) {
        suggest(app, form, option);
    } else {
        form.list = null;
    }
    app.update();
}

function onBlur(app, form, option) {
    if (form.list?.name === option.name) {
        form.list = null;
    }
    app.update();
}

function onType(app, form, option, text) {
    form.fields.set(option.name, { text });
    if (isCombobox(option)) {
        suggest(app, form, option);
        form.list.active = 0;
    }
    app.update();
}

// --- suggestions -----------------------------------------------------------------------------------------------------

function suggest(app, form, option) {
    // Enter in a field that need not be filled in sends the command, unless a suggestion was gone to.
    const active = option.required ? 0 : -1;
    const earlier = form.list?.name === option.name ? form.list : null;
    const field = form.fields.get(option.name);
    // Until the bot answers, only what still fits: Enter must not take what was suggested for another text.
    const choices = matching(option.autocomplete ? (earlier?.choices ?? []) : choicesOf(app, option), field);
    form.list = {
        name: option.name,
        active: earlier?.active ?? active,
        choices,
        loading: Boolean(option.autocomplete),
    };
    if (option.autocomplete) {
        clearTimeout(form.timer);
        form.timer = setTimeout(() => ask(app, form, option), earlier ? TYPING_MS : 0);
    }
}

function choicesOf(app, option) {
    if (option.choices?.length) {
        return option.choices.map(({ name, value }) => ({ label: name, value }));
    }
    if (option.type === BOOLEAN) {
        return YES_NO;
    }
    return optionsOf(app, { type: PICKED[option.type], channel_types: option.channel_types });
}

function matching(choices, { text, value }) {
    // A value that was chosen stands there in full; all others can still be chosen instead.
    const words = value === undefined ? text.trim().toLowerCase().replace(/^[@#]/, "") : "";
    return choices.filter((one) => one.label.toLowerCase().includes(words)).slice(0, MOST_SHOWN);
}

/** Ask the bot what it suggests for what was typed so far; a later question makes this one's answer worthless. */
async function ask(app, form, option) {
    const { list } = form;
    if (list?.name !== option.name) {
        return;
    }
    const asked = (form.asked = {});
    const filled = [...form.fields].filter(([name, field]) => name !== option.name && field.text && !field.file);
    const options = filled.map(([name, field]) => {
        const one = form.entry.options.find((other) => other.name === name);
        return { name, type: one.type, value: field.value ?? field.text };
    });
    options.push({ name: option.name, type: option.type, value: form.fields.get(option.name).text, focused: true });
    try {
        const sent = { type: AUTOCOMPLETE, channelId: form.channelId, data: dataOf(form.entry, options) };
        const { data } = await interact(app, sent);
        if (form.asked === asked && form.list?.name === option.name) {
            const choices = (data.choices ?? []).map(({ name, value }) => ({ label: name, value }));
            Object.assign(form.list, { choices, loading: false, failed: false });
            form.list.active = Math.min(form.list.active, choices.length - 1);
        }
    } catch {
        // Suggestions are a help: without them, what was typed is sent as it is.
        if (form.asked === asked && form.list?.name === option.name) {
            Object.assign(form.list, { choices: [], loading: false, failed: true });
        }
    }
    app.update();
}

/** Return the list above the fields. */
export function suggestionsView(app, form) {
    const { list } = form;
    if (!list) {
        return nothing;
    }
    const option = form.entry.options.find((one) => one.name === list.name);
    const none = list.loading ? "Loading…" : list.failed ? "The bot suggests nothing right now." : "Nothing found";
    return html`<div class="popup command-list">
        <p class="popup-title" aria-hidden="true">${option.name}: <bdi>${option.description}</bdi></p>
        <ul role="listbox" id="suggestion-list" aria-label="Suggestions">
            ${list.choices.map((choice, at) => choiceView(app, form, option, choice, at))}
            ${list.choices.length ? nothing : html`<li class="popup-none">${none}</li>`}
        </ul>
    </div>`;
}

function choiceView(app, form, option, choice, at) {
    const active = at === form.list.active;
    // Not on click: by then the field has lost the focus, and the list is gone.
    const press = (event) => {
        event.preventDefault();
        take(app, form, option, choice);
    };
    return html`<li
        id="suggestion-${at}"
        role="option"
        aria-selected=${String(active)}
        class=${active ? "popup-option active" : "popup-option"}
        @mousedown=${press}
        @mousemove=${() => point(app, form.list, at)}
        ${active ? ref(inSight) : nothing}
    >
        <bdi class="popup-label">${choice.label}</bdi>
    </li>`;
}

/** The line under the pointer is the one that Enter takes; two marked lines would leave that open. */
export function point(app, list, at) {
    if (list.active !== at) {
        list.active = at;
        app.update();
    }
}

function take(app, form, option, choice) {
    form.fields.set(option.name, { text: choice.label, value: choice.value });
    form.list = null;
    app.update();
}

// --- keys ------------------------------------------------------------------------------------------------------------

function onFieldKey(app, form, option, event) {
    const { list } = form;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && isCombobox(option)) {
        if (!list) {
            suggest(app, form, option);
        } else if (list.choices.length) {
            const { length } = list.choices;
            list.active = list.active < 0 && step < 0 ? length - 1 : (list.active + step + length) % length;
        }
        event.preventDefault();
        app.update();
    } else if ((event.key === "Enter" || event.key === "Tab") && list?.choices[list.active]) {
        const choice = list.choices[list.active];
        const inFull = form.fields.get(option.name).text === choice.label;
        take(app, form, option, choice);
        // Tab goes on to the next field by itself. Enter stays, and the next one sends; it sends at once what was typed
        // in full.
        if (event.key === "Enter" && !inFull) {
            event.preventDefault();
            event.stopPropagation();
        }
    } else if (event.key === "Backspace" && isEmpty(form)) {
        event.preventDefault();
        giveUp(app, `/${form.entry.name}`);
    }
}

function onFormKey(app, form, event) {
    if (event.isComposing || event.defaultPrevented) {
        return;
    }
    if (event.key === "Enter" && event.target.matches("input:not([type=file])")) {
        // Within the composer's form, Enter would send its text.
        event.preventDefault();
        send(app, form);
    } else if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        if (form.list) {
            form.list = null;
            app.update();
        } else {
            giveUp(app);
        }
    }
}

function isEmpty(form) {
    return [...form.fields.values()].every((one) => !one.text);
}

/** Go back from the fields to the text. */
function giveUp(app, text = "") {
    inside(app).slash = null;
    app.setDraft(app.ui.channelId, text);
    app.focusComposer();
}

// --- sending ---------------------------------------------------------------------------------------------------------

function dataOf({ command, path }, options) {
    const names = path.slice(1);
    const nested = names.reduceRight((inner, name, at) => {
        const type = at === names.length - 1 ? SUB_COMMAND : SUB_COMMAND_GROUP;
        return [{ type, name, options: inner }];
    }, options);
    const data = { id: command.id, name: command.name, type: 1, version: command.version, options: nested };
    return command.guild_id ? { ...data, guild_id: command.guild_id } : data;
}

/** Return an option's value, undefined if it is not given; what cannot be sent is noted in its field. */
function valueOf(app, form, option, files) {
    const field = form.fields.get(option.name);
    field.error = undefined;
    if (!field.text.trim()) {
        field.error = option.required ? `${option.name} is required.` : undefined;
        return undefined;
    }
    if (field.file) {
        return String(files.push(field.file) - 1);
    }
    if (field.value !== undefined) {
        return field.value;
    }
    if (isPicked(option)) {
        const same = (one) => one.label.toLowerCase() === field.text.trim().toLowerCase();
        const choice = choicesOf(app, option).find(same);
        field.error = choice ? undefined : `${option.name}: choose one of the suggestions.`;
        return choice?.value;
    }
    return option.type === INTEGER || option.type === NUMBER ? numberOf(option, field) : textOf(option, field);
}

function numberOf(option, field) {
    const number = Number(field.text.trim().replace(",", "."));
    const { min_value: least = -Infinity, max_value: most = Infinity } = option;
    if (Number.isNaN(number) || (option.type === INTEGER && !Number.isSafeInteger(number))) {
        field.error = `${option.name}: write a ${option.type === INTEGER ? "whole number" : "number"}.`;
    } else if (number < least || number > most) {
        field.error = `${option.name}: ${rangeText(least, most)}.`;
    }
    return number;
}

function rangeText(least, most) {
    if (least === -Infinity) {
        return `at most ${most}`;
    }
    return most === Infinity ? `at least ${least}` : `from ${least} to ${most}`;
}

function textOf(option, field) {
    if (field.text.length < (option.min_length ?? 0)) {
        field.error = `${option.name}: write at least ${option.min_length} characters.`;
    }
    return field.text;
}

async function send(app, form) {
    const files = [];
    const options = form.entry.options
        .map((one) => ({ name: one.name, type: one.type, value: valueOf(app, form, one, files) }))
        .filter((one) => one.value !== undefined);
    form.list = null;
    if ([...form.fields.values()].some((one) => one.error)) {
        await app.drawNow();
        document.querySelector(".command-field.wrong input")?.focus();
        return;
    }
    const data = dataOf(form.entry, options);
    if (files.length) {
        data.attachments = files.map((file, at) => ({ id: String(at), filename: file.name }));
    }
    const state = inside(app);
    const sent = { channelId: form.channelId, name: form.entry.name };
    state.slash = null;
    state.sent.push(sent);
    app.clearComposer();
    try {
        const answer = await interact(app, { type: COMMAND, channelId: form.channelId, data, files });
        if (answer.kind === "modal") {
            openModal(app, answer.data);
        }
    } catch (error) {
        tellFailure(app, form, error);
    } finally {
        state.sent = state.sent.filter((one) => one !== sent);
        app.update();
    }
}

/** Say what went wrong, with the way back to the fields as they were filled in. */
function tellFailure(app, form, error) {
    const why = error instanceof InteractionFailed ? "the application did not respond." : whyRefused(error);
    const text = `/${form.entry.name}: ${why}`;
    const again = async () => {
        inside(app).slash = form;
        app.ui.alerts = app.ui.alerts.filter((one) => one.text !== text);
        await app.drawNow();
        document.querySelector(".command-form [data-first]")?.focus();
    };
    const action = app.ui.channelId === form.channelId ? { label: "Edit and try again", run: again } : null;
    app.alert(text, { action });
}
