/** Attachments: pictures, sound, film and text in place; everything else as a file to download. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { explain } from "../wording.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";
import { highlightedCode } from "./markdown.js";
import { safeUrl } from "./markdown_inline.js";

const PREVIEW_BYTES = 64 * 1024;
const PREVIEW_LINES = 12;
/** Of a picture, in pixels of the page, as in Discord. */
const LARGEST = { width: 550, height: 350 };
const PICTURES = /^image\/(?:png|jpeg|gif|webp|avif|bmp)\b/;
const TEXT = /^(?:text\/(?!html)|application\/(?:json|xml|x-yaml|toml|javascript))/;
const TEXT_NAMES =
    /\.(?:md|txt|log|diff|patch|py|js|ts|json|toml|ya?ml|csv|rs|go|c|h|cpp|java|rb|sh|css|sql|ini|cfg)$/i;

/** Return all attachments of a message. */
export function attachmentsView(app, attachments, messageId) {
    if (!attachments.length) {
        return nothing;
    }
    return html`<div class="attachments">${attachments.map((one) => attachmentView(app, one, messageId))}</div>`;
}

function attachmentView(app, file, messageId) {
    const type = file.content_type ?? "";
    // A file that is still being sent is shown from the page's own memory.
    const local = file.url.startsWith("blob:");
    if (!local && !safeUrl(file.url)) {
        return nothing;
    }
    if (PICTURES.test(type)) {
        return pictureView(file);
    }
    if (type.startsWith("audio/")) {
        return soundView(file);
    }
    if (type.startsWith("video/")) {
        return html`<figure class="film">
            <video controls preload="metadata" src=${file.url} aria-label=${file.filename}></video>${cardView(file)}
        </figure>`;
    }
    const readable = (TEXT.test(type) || TEXT_NAMES.test(file.filename)) && file.size > 0;
    // The page's policy lets pictures be shown from memory, and nothing be read from there.
    return readable && !local ? textView(app, file, messageId) : cardView(file);
}

function pictureView(file) {
    const [width, height] = [Number(file.width), Number(file.height)];
    const scale = Math.min(1, LARGEST.width / width, LARGEST.height / height);
    // Room is kept before it has loaded, so that the list does not jump; no more than it takes, or its corners are cut.
    const room = width && height ? `aspect-ratio: ${width} / ${height}; width: ${Math.ceil(width * scale)}px` : "";
    return html`<a class="picture" href=${file.url} target="_blank" rel="noopener" title=${titleOf(file)}>
        <img src=${file.url} alt=${file.description || file.filename} loading="lazy" .style=${room} />
    </a>`;
}

function soundView(file) {
    return html`<figure class="sound">
        ${cardView(file)}<audio controls preload="metadata" src=${file.url} aria-label=${file.filename}></audio>
    </figure>`;
}

function titleOf(file) {
    return `${file.filename} (${sizeText(file.size)})`;
}

function cardView(file) {
    return html`<div class="file-card">
        <span class="file-icon">${icon("file")}</span>
        <span class="file-words">
            <a class="file-name" href=${file.url} target="_blank" rel="noopener" download=${file.filename}
                ><bdi>${file.filename}</bdi></a
            >
            <span class="file-size">${sizeText(file.size)}</span>
        </span>
        ${downloadLink(file)}
    </div>`;
}

function downloadLink(file) {
    const name = `Download ${file.filename}`;
    return html`<a class="icon-button" href=${file.url} download=${file.filename} aria-label=${name} title="Download"
        >${icon("download")}</a
    >`;
}

// --- text in place ---------------------------------------------------------------------------------------------------

function textView(app, file, messageId) {
    const { previews } = inside(app);
    const preview = previews.get(file.id);
    if (!preview) {
        const started = { text: null, error: "", open: false };
        previews.set(file.id, started);
        read(app, file, started, messageId);
    }
    if (!preview?.text) {
        return cardView(file);
    }
    const lines = preview.text.split("\n");
    const shown = preview.open ? lines : lines.slice(0, PREVIEW_LINES);
    const language = /\.(\w+)$/.exec(file.filename)?.[1] ?? "";
    return html`<div class="text-file">
        <pre tabindex="0" aria-label="Beginning of ${file.filename}"><code
            .innerHTML=${highlightedCode(shown.join("\n"), language)}></code></pre>
        <div class="text-file-foot">
            ${moreButton(app, preview, lines.length - PREVIEW_LINES, messageId)}
            <a class="file-name" href=${file.url} target="_blank" rel="noopener" download=${file.filename}
                ><bdi>${file.filename}</bdi></a
            >
            <span class="file-size">${sizeText(file.size)}${preview.cut ? ", only the beginning is shown" : ""}</span>
            ${downloadLink(file)}
        </div>
    </div>`;
}

function moreButton(app, preview, count, messageId) {
    if (count <= 0) {
        return nothing;
    }
    const toggle = () => {
        preview.open = !preview.open;
        app.touch(messageId);
    };
    return html`<button type="button" class="link-button" aria-expanded=${String(preview.open)} @click=${toggle}>
        ${preview.open ? "Show less" : `Show ${count.toLocaleString("en-US")} more ${count === 1 ? "line" : "lines"}`}
    </button>`;
}

/** Read the beginning of a text file; where that fails, it stays a file to download. */
async function read(app, file, preview, messageId) {
    try {
        const response = await fetch(file.url, { credentials: "omit" });
        if (!response.ok) {
            throw new Error(`HTTP ${response.status}`);
        }
        const bytes = await firstBytes(response.body, PREVIEW_BYTES);
        const text = new TextDecoder("utf-8", { fatal: false }).decode(bytes);
        preview.cut = file.size > bytes.length;
        // A NUL is in no text: then the name lied.
        preview.text = text.includes("\0") ? null : text.replace(/\n$/, "");
    } catch (error) {
        preview.error = explain(error);
    }
    app.touch(messageId);
}

async function firstBytes(stream, most) {
    const reader = stream.getReader();
    const parts = [];
    let size = 0;
    while (size < most) {
        const { done, value } = await reader.read();
        if (done) {
            break;
        }
        parts.push(value);
        size += value.length;
    }
    await reader.cancel();
    return new Uint8Array(await new Blob(parts).arrayBuffer()).slice(0, most);
}

/** Return a number of bytes as people say it. */
export function sizeText(bytes) {
    if (bytes < 1000) {
        return `${bytes} bytes`;
    }
    const units = ["kB", "MB", "GB"];
    let value = bytes;
    let unit = -1;
    while (value >= 1000 && unit < units.length - 1) {
        value /= 1000;
        unit += 1;
    }
    return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
