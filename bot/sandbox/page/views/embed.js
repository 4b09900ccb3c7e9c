/** Embeds: a title, a text, fields and pictures in a box with a coloured edge. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { markdown } from "./markdown.js";
import { onMarkdownEvent } from "./markdown_events.js";
import { safeUrl } from "./markdown_inline.js";
import { isTime, messageTime } from "./timestamps.js";

/** Return all embeds of a message. */
export function embedsView(app, embeds) {
    return embeds.length ? html`<div class="embeds">${embeds.map((one) => embedView(app, one))}</div>` : nothing;
}

function embedView(app, embed) {
    const colour = Number.isInteger(embed.color) ? `#${(embed.color & 0xffffff).toString(16).padStart(6, "0")}` : "";
    const { author, description, fields = [] } = embed;
    const act = (event) => onMarkdownEvent(app, event);
    return html`<section
        class="embed"
        .style=${colour ? `border-inline-start-color: ${colour}` : ""}
        @click=${act}
        @keydown=${act}
    >
        ${author?.name ? html`<p class="embed-author">${linked(author.name, author.url)}</p>` : nothing}
        ${embed.title ? html`<p class="embed-title">${linked(embed.title, embed.url)}</p>` : nothing}
        ${description ? html`<div class="embed-text">${markdown(app, description, { small: true })}</div>` : nothing}
        ${fields.length ? html`<div class="embed-fields">${fields.map((one) => fieldView(app, one))}</div>` : nothing}
        ${pictureView(embed.image ?? embed.thumbnail)} ${footView(embed)}
    </section>`;
}

function linked(text, address) {
    const url = address && safeUrl(address);
    if (!url) {
        return html`<bdi>${text}</bdi>`;
    }
    return html`<a href=${url} target="_blank" rel="noopener noreferrer nofollow"><bdi>${text}</bdi></a>`;
}

function fieldView(app, field) {
    return html`<div class=${field.inline ? "embed-field inline" : "embed-field"}>
        <p class="embed-name">${markdown(app, field.name ?? "", { small: true })}</p>
        <div>${markdown(app, field.value ?? "", { small: true })}</div>
    </div>`;
}

function pictureView(picture) {
    // From this server only: the policy of the page lets no other picture through, and a broken one helps nobody.
    const own = picture?.url?.startsWith(location.origin + "/");
    return own ? html`<img class="embed-picture" src=${picture.url} alt="" loading="lazy" />` : nothing;
}

function footView(embed) {
    const time = isTime(Date.parse(embed.timestamp) / 1000) ? messageTime(embed.timestamp) : "";
    const parts = [embed.footer?.text, time].filter(Boolean);
    if (!parts.length) {
        return nothing;
    }
    return html`<p class="embed-foot"><bdi>${parts.join(" · ")}</bdi></p>`;
}
