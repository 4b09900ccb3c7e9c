/** Files on their way into a message: chosen, dropped or pasted, shown before they are sent, and taken out again. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

import { sizeText } from "./attachments.js";
import { icon } from "./icons.js";

/** Discord's limits for a message. */
export const MOST_FILES = 10;
const LARGEST_BYTES = 10 * 1024 * 1024;

/** Put files into the open place's draft; says which of them can't be sent, and why. */
export function attach(app, files) {
    const { channelId } = app.ui;
    const { files: present } = app.draft(channelId);
    const fitting = files.filter((one) => one.size <= LARGEST_BYTES);
    const taken = fitting.slice(0, MOST_FILES - present.length);
    for (const one of files.filter((file) => !fitting.includes(file))) {
        app.alert(`${one.name} is too large: a file can have up to 10 MB. Send a smaller one, or pack it.`);
    }
    if (taken.length < fitting.length) {
        app.alert(`A message can have up to ${MOST_FILES} files. Send the others in a second message.`);
    }
    app.drafts.addFiles(channelId, taken);
    app.focusComposer();
}

/** The drafts' files, with pictures of pictures. */
export function filesView(app, channelId) {
    const { files } = app.draft(channelId);
    if (!files.length) {
        return nothing;
    }
    const remove = (id) => {
        app.drafts.removeFile(channelId, id);
        app.focusComposer();
    };
    return html`<ul class="upload-list" aria-label="Attached files">
        ${repeat(
            files,
            (one) => one.id,
            ({ id, file, url }) => html`<li class="upload">
                <span class="upload-icon">${icon("file")}</span>
                ${file.type.startsWith("image/") ? html`<img src=${url} alt="" @error=${hide} />` : nothing}
                <span class="upload-name" title=${file.name}>${file.name}</span>
                <span class="upload-size">${sizeText(file.size)}</span>
                <button type="button" class="icon-button" aria-label="Remove ${file.name}" @click=${() => remove(id)}>
                    ${icon("trash")}
                </button>
            </li>`,
        )}
    </ul>`;
}

/** What is no picture, whatever its name says: the icon behind it stays. */
function hide(event) {
    event.target.hidden = true;
}

export function attachButton(app) {
    const change = (event) => {
        attach(app, [...event.target.files]);
        // The same file can be chosen again after it was removed.
        event.target.value = "";
    };
    return html`<button
            type="button"
            class="icon-button attach"
            aria-label="Attach files"
            title="Attach files"
            @click=${(event) => event.currentTarget.nextElementSibling.click()}
        >
            ${icon("plus")}</button
        ><input type="file" multiple hidden @change=${change} />`;
}

/** Pasted files are attached; pasted text is the textarea's. */
export function onPaste(app, event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && app.store.can(app.ui.channelId, "attach_files")) {
        event.preventDefault();
        attach(app, files.map(named));
    }
}

/** Pictures from the clipboard all have the same name. */
function named(file) {
    if (file.name !== "image.png") {
        return file;
    }
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    return new File([file], `pasted-${time}.png`, { type: file.type });
}

/** Files that are dragged over the place, and dropped there. */
export function onDrag(app, event) {
    const files = event.dataTransfer?.types.includes("Files") && app.store.can(app.ui.channelId, "attach_files");
    if (!files) {
        return;
    }
    event.preventDefault();
    const leaving = event.type === "dragleave" && !event.currentTarget.contains(event.relatedTarget);
    const over = event.type !== "drop" && !leaving;
    if (Boolean(app.ui.dropping) !== over) {
        app.ui.dropping = over;
        app.update();
    }
    if (event.type === "drop") {
        attach(app, [...event.dataTransfer.files]);
    }
}
