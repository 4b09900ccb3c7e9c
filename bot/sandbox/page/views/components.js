/**
 * Components of messages: buttons and menus in rows, and the boxes of messages that consist of components.
 *
 * One press at a time: until Discord says that the bot has it, the others of the message do not take any.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { COMPONENT, InteractionFailed, interact, whyRefused } from "../interactions.js";
import { attachmentsView } from "./attachments.js";
import { dropdown } from "./dropdown.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";
import { markdown } from "./markdown.js";
import { onMarkdownEvent } from "./markdown_events.js";
import { safeUrl } from "./markdown_inline.js";
import { SELECT_KINDS, optionsOf } from "./menu_options.js";
import { openModal } from "./modal.js";

const ROW = 1;
const BUTTON = 2;
const STRING_SELECT = 3;
const STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link" };
const LINK = 5;

/** Return the components of a message; `v2`: they are its content, too. */
export function componentsView(app, message, { v2 = false } = {}) {
    const components = message.components ?? [];
    if (!components.length) {
        return nothing;
    }
    const name = v2 ? "components components-v2" : "components";
    return html`<div class=${name}>${components.map((one) => componentView(app, message, one))}</div>`;
}

function componentView(app, message, one) {
    const inner = () => (one.components ?? []).map((held) => componentView(app, message, held));
    switch (one.type) {
        case ROW:
            return html`<div class="component-row">${inner()}</div>`;
        case BUTTON:
            return buttonView(app, message, one);
        case 9:
            return html`<div class="v2-section">
                <div>${inner()}</div>
                ${one.accessory ? componentView(app, message, one.accessory) : nothing}
            </div>`;
        case 10:
            return textView(app, one.content ?? "");
        case 11:
            return pictureView(one.media, one.description);
        case 12:
            return html`<div class="v2-gallery">
                ${(one.items ?? []).map((item) => pictureView(item.media, item.description))}
            </div>`;
        case 13:
            return attachmentsView(app, [fileOf(one)], message.id);
        case 14:
            return html`<hr class=${one.divider === false ? "v2-gap" : "v2-line"} />`;
        case 17:
            return boxView(one, inner());
        default:
            return SELECT_KINDS[one.type] ? selectView(app, message, one) : nothing;
    }
}

function textView(app, text) {
    const act = (event) => onMarkdownEvent(app, event);
    return html`<div class="content" @click=${act} @keydown=${act}>${markdown(app, text)}</div>`;
}

function pictureView(media, description) {
    const own = media?.url?.startsWith(location.origin + "/");
    return own ? html`<img class="v2-picture" src=${media.url} alt=${description ?? ""} loading="lazy" />` : nothing;
}

function fileOf({ file, name, size }) {
    const filename = name ?? decoded(file?.url?.split("?")[0].split("/").at(-1) ?? "file");
    return {
        id: file?.url ?? filename,
        filename,
        size: size ?? 0,
        url: file?.url ?? "",
        content_type: file?.content_type,
    };
}

function decoded(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        // A percent sign may be only that.
        return part;
    }
}

function boxView(box, inner) {
    const colour = Number.isInteger(box.accent_color) ? `#${box.accent_color.toString(16).padStart(6, "0")}` : "";
    return html`<div
        class=${colour ? "v2-box accent" : "v2-box"}
        .style=${colour ? `border-inline-start-color: ${colour}` : ""}
    >
        ${inner}
    </div>`;
}

// --- buttons ---------------------------------------------------------------------------------------------------------

function buttonView(app, message, button) {
    const busy = inside(app).busy.get(message.id);
    const emoji = button.emoji?.name && !button.emoji.id ? button.emoji.name : "";
    const inner = html`${emoji ? html`<span aria-hidden=${button.label ? "true" : nothing}>${emoji}</span>` : nothing}
    ${button.label ? html`<bdi>${button.label}</bdi>` : nothing}`;
    if (button.style === LINK) {
        const url = safeUrl(button.url ?? "");
        return html`<a
            class="button button-link"
            href=${url ?? nothing}
            title=${url ?? nothing}
            target="_blank"
            rel="noopener noreferrer nofollow"
            >${inner} ${icon("jump")}</a
        >`;
    }
    const waiting = busy === button.custom_id;
    return html`<button
        type="button"
        class="button button-${STYLES[button.style] ?? "secondary"}${waiting ? " waiting" : ""}"
        aria-busy=${waiting ? "true" : nothing}
        ?disabled=${Boolean(button.disabled)}
        aria-disabled=${busy && !waiting ? "true" : nothing}
        @click=${() => use(app, message, button)}
    >
        ${inner}
    </button>`;
}

// --- menus -----------------------------------------------------------------------------------------------------------

function selectView(app, message, select) {
    const key = `${message.id}:${select.custom_id}`;
    const options = optionsOf(app, select);
    const standing = options.filter((one) => one.default).map((one) => one.value);
    const busy = inside(app).busy.get(message.id);
    const placeholder = select.placeholder || "Make a selection";
    return html`<div class="component-select">
        ${dropdown(app, {
            key,
            label: placeholder,
            placeholder,
            options,
            chosen: inside(app).chosen.get(key) ?? standing,
            least: select.min_values ?? 1,
            most: select.max_values ?? 1,
            disabled: Boolean(select.disabled),
            busy: busy === select.custom_id,
            search: select.type !== STRING_SELECT,
            onChange: (values) => {
                inside(app).chosen.set(key, values);
                use(app, message, select, values);
            },
            refresh: () => app.touch(message.id),
        })}
    </div>`;
}

/** Press a button, or choose in a menu. */
async function use(app, message, component, values) {
    const state = inside(app);
    if (state.busy.has(message.id)) {
        return;
    }
    state.busy.set(message.id, component.custom_id);
    state.failed.delete(message.id);
    app.touch(message.id);
    const data = { component_type: component.type, custom_id: component.custom_id };
    if (values) {
        data.values = values;
    }
    try {
        const sent = { type: COMPONENT, channelId: message.channel_id, data, message };
        const answer = await interact(app, sent);
        if (answer.kind === "modal") {
            openModal(app, answer.data);
        }
    } catch (error) {
        const why = error instanceof InteractionFailed ? "This interaction failed" : whyRefused(error);
        state.failed.set(message.id, why);
    } finally {
        state.busy.delete(message.id);
        // The bot's message says what is chosen now; a menu without a standing value is empty again.
        if (values) {
            state.chosen.delete(`${message.id}:${component.custom_id}`);
        }
        app.touch(message.id);
    }
}
