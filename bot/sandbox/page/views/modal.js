/**
 * Forms that the bot opens: fields with labels, errors beside them, Submit and Cancel.
 *
 * What was typed outlives a form that is closed, and one that the bot did not answer: opened again, it stands there.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { InteractionFailed, MODAL, interact, whyRefused } from "../interactions.js";
import { dropdown } from "./dropdown.js";
import { modal } from "./floating.js";
import { inside } from "./inside.js";
import { markdown } from "./markdown.js";
import { optionsOf } from "./menu_options.js";

const TEXT_INPUT = 4;
const TEXT_DISPLAY = 10;
const LABEL = 18;
const PARAGRAPH = 2;
const MOST_TYPED = 4000;
const NOT_SENT = "The bot did not answer. What you typed is kept: try again.";

/** Open a form as INTERACTION_MODAL_CREATE describes it. */
export function openModal(app, form) {
    const state = inside(app);
    const fields = fieldsOf(app, form.components ?? []);
    const typed = state.drafts.get(form.custom_id);
    const values = new Map(fields.map((field) => [field.id, typed?.get(field.id) ?? field.standing]));
    state.dialog = { kind: "modal", form, fields, values, errors: new Map(), error: "", busy: false };
    app.update();
}

/** Return what can be filled in, each with its label and the path that an error of Discord names. */
function fieldsOf(app, components) {
    const fields = [];
    components.forEach((part, at) => {
        if (part.type === TEXT_DISPLAY) {
            return;
        }
        const held = part.type === LABEL ? [part.component] : (part.components ?? []);
        held.forEach((one, inner) => {
            const path =
                part.type === LABEL ? ["components", at, "component"] : ["components", at, "components", inner];
            const label = part.label ?? one.label ?? one.placeholder ?? "";
            fields.push({
                id: one.custom_id,
                at,
                one,
                label,
                about: part.description ?? "",
                path,
                ...standingOf(app, one),
            });
        });
    });
    return fields;
}

function standingOf(app, one) {
    if (one.type === TEXT_INPUT) {
        return { standing: one.value ?? "", options: null };
    }
    const options = optionsOf(app, one);
    return { standing: options.filter((option) => option.default).map((option) => option.value), options };
}

/** Return the open form. */
export function modalView(app, dialog) {
    const { form, fields } = dialog;
    const cancel = (event) => {
        event?.preventDefault();
        close(app, dialog);
    };
    const submit = (event) => {
        event.preventDefault();
        send(app, dialog);
    };
    return html`<dialog
        class="dialog modal"
        aria-labelledby="modal-title"
        @cancel=${cancel}
        @close=${cancel}
        @keydown=${(event) => onKey(app, dialog, event)}
        ${ref(modal)}
    >
        <form class="dialog-form" novalidate @submit=${submit}>
            <h2 id="modal-title" class="dialog-title"><bdi>${form.title}</bdi></h2>
            <div class="dialog-body">
                ${form.components.map((part, at) =>
                    part.type === TEXT_DISPLAY
                        ? markdown(app, part.content ?? "", { small: true })
                        : fields.filter((field) => field.at === at).map((field) => fieldView(app, dialog, field)),
                )}
                ${dialog.error ? html`<p class="field-error" role="alert">${dialog.error}</p>` : nothing}
            </div>
            <div class="dialog-foot">
                <button type="button" class="button button-secondary" @click=${cancel}>Cancel</button>
                <button type="submit" class="button button-primary" aria-busy=${dialog.busy ? "true" : nothing}>
                    Submit
                </button>
            </div>
        </form>
    </dialog>`;
}

function fieldView(app, dialog, field) {
    const id = `modal-${field.at}-${field.path.at(-1)}`;
    const error = dialog.errors.get(field.id);
    const about = [field.about && `${id}-about`, error && `${id}-error`].filter(Boolean).join(" ");
    return html`<div class=${error ? "form-field wrong" : "form-field"}>
        <label id="${id}-label" for=${id}
            ><bdi>${field.label}</bdi>${
                isRequired(field) ? html`<span class="required" aria-hidden="true"> *</span>` : nothing
            }</label
        >
        ${field.about ? html`<p class="field-about" id="${id}-about"><bdi>${field.about}</bdi></p>` : nothing}
        ${field.options ? menuView(app, dialog, field, id) : textView(app, dialog, field, id, about)}
        ${error ? html`<p class="field-error" id="${id}-error">${error}</p>` : nothing}
    </div>`;
}

function isRequired(field) {
    return field.one.required ?? true;
}

function menuView(app, dialog, field, id) {
    const { one } = field;
    return dropdown(app, {
        key: `modal:${field.id}`,
        label: field.label,
        labelledBy: `${id}-label`,
        placeholder: one.placeholder || "Make a selection",
        options: field.options,
        chosen: dialog.values.get(field.id),
        least: isRequired(field) ? (one.min_values ?? 1) : 0,
        most: one.max_values ?? 1,
        search: one.type !== 3,
        onChange: (values) => setValue(app, dialog, field, values),
        refresh: () => app.update(),
    });
}

function textView(app, dialog, field, id, about) {
    const { one } = field;
    const most = one.max_length ?? MOST_TYPED;
    const value = dialog.values.get(field.id);
    const type = (event) => setValue(app, dialog, field, event.target.value);
    const left = most - value.length;
    const count = left < most / 5 || one.style === PARAGRAPH;
    return html`${
        one.style === PARAGRAPH
            ? html`<textarea
                  id=${id}
                  rows="4"
                  maxlength=${most}
                  placeholder=${one.placeholder ?? ""}
                  aria-required=${String(isRequired(field))}
                  aria-invalid=${String(dialog.errors.has(field.id))}
                  aria-describedby=${about || nothing}
                  .value=${value}
                  @input=${type}
              ></textarea>`
            : html`<input
                  id=${id}
                  type="text"
                  autocomplete="off"
                  maxlength=${most}
                  placeholder=${one.placeholder ?? ""}
                  aria-required=${String(isRequired(field))}
                  aria-invalid=${String(dialog.errors.has(field.id))}
                  aria-describedby=${about || nothing}
                  .value=${value}
                  @input=${type}
              />`
    }
    ${count ? html`<span class="field-count" aria-hidden="true">${value.length} / ${most}</span>` : nothing}`;
}

function setValue(app, dialog, field, value) {
    dialog.values.set(field.id, value);
    dialog.errors.delete(field.id);
    inside(app).drafts.set(dialog.form.custom_id, dialog.values);
    app.update();
}

function onKey(app, dialog, event) {
    // As in Discord, Ctrl+Enter sends from a text of several lines, where Enter alone begins the next.
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        send(app, dialog);
    }
}

function close(app, dialog) {
    if (inside(app).dialog !== dialog) {
        return;
    }
    inside(app).dialog = null;
    inside(app).dropdown = null;
    app.update();
}

function check(dialog) {
    for (const field of dialog.fields) {
        const why = field.options
            ? chosenError(field, dialog.values.get(field.id))
            : typedError(field, dialog.values.get(field.id));
        if (why) {
            dialog.errors.set(field.id, why);
        }
    }
    return dialog.errors.size === 0;
}

function typedError(field, text) {
    const least = field.one.min_length ?? 0;
    if (!text.trim()) {
        return isRequired(field) ? "This field is required." : "";
    }
    return text.length < least ? `Write at least ${least} characters.` : "";
}

function chosenError(field, values) {
    const least = field.one.min_values ?? 1;
    if (!values.length) {
        return isRequired(field) ? "Choose something." : "";
    }
    return values.length < least ? `Choose at least ${least}.` : "";
}

async function send(app, dialog) {
    if (dialog.busy) {
        return;
    }
    dialog.errors.clear();
    dialog.error = "";
    if (!check(dialog)) {
        await app.drawNow();
        document.querySelector(".modal .wrong :is(input, textarea, button)")?.focus();
        return;
    }
    dialog.busy = true;
    app.update();
    const { form } = dialog;
    const data = { id: form.id, custom_id: form.custom_id, components: filled(dialog) };
    try {
        await interact(app, { type: MODAL, channelId: form.channel_id ?? app.ui.channelId, data });
        inside(app).drafts.delete(form.custom_id);
        close(app, dialog);
    } catch (error) {
        dialog.error = error instanceof InteractionFailed ? NOT_SENT : unexplained(dialog, error);
    } finally {
        dialog.busy = false;
        app.update();
    }
}

/** Return the parts of the form as they were filled in, in the form's own shape. */
function filled(dialog) {
    return dialog.form.components.map((part) => {
        const shape = { type: part.type };
        if (part.id !== undefined) {
            shape.id = part.id;
        }
        if (part.type === LABEL) {
            shape.component = answer(dialog, part.component);
        } else if (part.components) {
            shape.components = part.components.map((one) => answer(dialog, one));
        }
        return shape;
    });
}

function answer(dialog, one) {
    const value = dialog.values.get(one.custom_id);
    const shape = { type: one.type, custom_id: one.custom_id };
    if (one.id !== undefined) {
        shape.id = one.id;
    }
    return one.type === TEXT_INPUT ? { ...shape, value } : { ...shape, values: value };
}

/** Put what Discord says about fields beside them, and return what is about none of them. */
function unexplained(dialog, error) {
    const rest = [];
    for (const [path, text] of errorsIn(error.errors)) {
        const field = dialog.fields.find((one) => path.includes(one.path.join(".")));
        if (field) {
            dialog.errors.set(field.id, text);
        } else {
            rest.push(text);
        }
    }
    return rest.join(" ") || (dialog.errors.size ? "" : whyRefused(error));
}

function* errorsIn(errors, path = "") {
    if (!errors || typeof errors !== "object") {
        return;
    }
    for (const one of errors._errors ?? []) {
        yield [path, one.message];
    }
    for (const [name, held] of Object.entries(errors)) {
        if (name !== "_errors") {
            yield* errorsIn(held, path ? `${path}.${name}` : name);
        }
    }
}
