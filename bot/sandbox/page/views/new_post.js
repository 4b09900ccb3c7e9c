/** The form for a forum's new post: title, first message, tags and files. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { toWire } from "../mention_text.js";
import { explain } from "../wording.js";
import { MOST_FILES } from "./files.js";
import { icon } from "./icons.js";
import { mentionList, onMentionInput, onMentionKey } from "./mentions.js";
import { MOST_TAGS, tagButtons } from "./tags.js";

const LONGEST_TITLE = 100;
const TEXT_ID = "new-post-text";

export function newPostForm(app) {
    const post = app.ui.newPost;
    const cancel = () => close(app);
    return html`<form
        class="new-post"
        aria-label="New post"
        @submit=${(event) => submit(app, event)}
        @keydown=${(event) => event.key === "Escape" && !event.defaultPrevented && (event.preventDefault(), cancel())}
    >
        <input
            class="new-post-title"
            aria-label="Title"
            placeholder="Title"
            maxlength=${LONGEST_TITLE}
            required
            .value=${post.title}
            ${ref((field) => focusOnce(post, field))}
            @input=${(event) => set(app, { title: event.target.value })}
        />
        <div class="new-post-body">
            ${mentionList(app, TEXT_ID)}
            <textarea
                id=${TEXT_ID}
                class="composer-input"
                rows="3"
                aria-label="First message"
                placeholder="Enter a message…"
                .value=${post.text}
                @input=${(event) => onText(app, event)}
                @keydown=${(event) => onMentionKey(app, event)}
            ></textarea>
        </div>
        ${tags(app, post)} ${files(app, post)}
        <div class="new-post-actions">
            ${attach(app, post)}
            <p class="new-post-problem" role="alert">${post.problem ?? ""}</p>
            <button type="button" class="button" @click=${cancel}>Cancel</button>
            <button class="button button-primary" ?disabled=${post.busy || !ready(post)}>Post</button>
        </div>
    </form>`;
}

function ready(post) {
    return post.title.trim() && (post.text.trim() || post.files.length);
}

function focusOnce(post, field) {
    if (field && !post.focused) {
        post.focused = true;
        queueMicrotask(() => field.focus());
    }
}

function set(app, changes) {
    Object.assign(app.ui.newPost, changes);
    app.update();
}

function onText(app, event) {
    set(app, { text: event.target.value });
    onMentionInput(app, event.target);
}

/** Tags that only moderators set are offered to them alone. */
function tags(app, post) {
    const moderator = app.store.can(app.place.id, "manage_threads");
    const offered = (app.place.available_tags ?? []).filter((tag) => moderator || !tag.moderated);
    if (!offered.length) {
        return nothing;
    }
    return tagButtons("Tags", offered, post.tags, (chosen) => set(app, { tags: chosen.slice(0, MOST_TAGS) }));
}

function files(app, post) {
    const remove = (file) => set(app, { files: post.files.filter((one) => one !== file) });
    return post.files.length
        ? html`<ul class="new-post-files" aria-label="Attached files">
              ${post.files.map(
                  (file) => html`<li>
                      ${icon("file")}<span>${file.name}</span>
                      <button
                          type="button"
                          class="icon-button"
                          aria-label="Remove ${file.name}"
                          @click=${() => remove(file)}
                      >
                          ${icon("close")}
                      </button>
                  </li>`,
              )}
          </ul>`
        : nothing;
}

function attach(app, post) {
    const change = (event) => {
        const chosen = [...post.files, ...event.target.files];
        const problem = chosen.length > MOST_FILES ? `A message can have up to ${MOST_FILES} files.` : null;
        set(app, { files: chosen.slice(0, MOST_FILES), problem });
        // The same file can be chosen again after it was removed.
        event.target.value = "";
    };
    return html`<button
            type="button"
            class="icon-button"
            aria-label="Attach files"
            @click=${(event) => event.currentTarget.nextElementSibling.click()}
        >
            ${icon("plus")}</button
        ><input type="file" multiple hidden @change=${change} />`;
}

function close(app) {
    app.ui.newPost = false;
    app.update();
}

async function submit(app, event) {
    event.preventDefault();
    const { newPost: post, channelId } = app.ui;
    if (post.busy || !ready(post)) {
        return;
    }
    set(app, { busy: true, problem: null });
    const attachments = post.files.map((file, index) => ({ id: String(index), filename: file.name }));
    const message = { content: toWire(app.store, post.text.trim()), ...(attachments.length && { attachments }) };
    const body = { name: post.title.trim(), applied_tags: post.tags, message };
    try {
        const thread = await app.api.post(`/channels/${channelId}/threads`, body, { files: post.files });
        app.store.putPlace(thread);
        close(app);
        app.open(thread.id);
    } catch (error) {
        Object.assign(post, { busy: false, problem: explain(error) });
        app.update();
    }
}
