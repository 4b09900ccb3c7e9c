/** Where messages are written: the composer below a place's messages, and the editor within a message. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { toTyped, toWire } from "../mention_text.js";
import { send } from "../outbox.js";
import { isThread } from "../store.js";
import { commandChosen, commandFormView, commandListView, onComposerInput, onComposerKey } from "./commands.js";
import { attachButton, filesView, onPaste } from "./files.js";
import { icon } from "./icons.js";
import { mentionList, mentionState, onMentionInput, onMentionKey } from "./mentions.js";

const LONGEST_CHARACTERS = 2000;
const COUNTED_FROM = 1800;

/** Others see that somebody types for ten seconds; it is said again before that. */
const TYPING_EVERY_MS = 8_000;

const INPUT_ID = "composer-input";
const EDITOR_ID = "editor-input";

let typingSaid = { channelId: null, at: 0 };

export function composer(app) {
    const { place, store } = app;
    const reason = whyNot(app);
    if (reason) {
        return html`<div class="composer-closed">${icon("lock")}<p>${reason}</p></div>`;
    }
    const draft = app.draft(place.id);
    const chosen = commandChosen(app);
    const name = store.placeName(place);
    return html`<form class="composer" @submit=${(event) => onSubmit(app, event)}>
        ${commandListView(app)} ${mentionList(app, INPUT_ID)} ${replyBar(app)}
        <div class="composer-box">
            ${filesView(app, place.id)}
            <div class="composer-row">
                ${store.can(place.id, "attach_files") ? attachButton(app) : nothing} ${commandFormView(app)}
                ${input(app, draft, name, chosen)} ${counter(draft.text)} ${chosen ? nothing : sendButton(draft)}
            </div>
        </div>
        ${typingLine(app)}
    </form>`;
}

/** Why nothing can be written here, or null. */
function whyNot({ place, store }) {
    if (place.thread_metadata?.locked && !store.can(place.id, "manage_threads")) {
        return "This thread is locked. Only moderators can write here.";
    }
    if (!store.can(place.id, "send_messages")) {
        return "You do not have permission to send messages here.";
    }
    return null;
}

function input(app, draft, name, hidden) {
    const { open, active } = mentionState(app, INPUT_ID);
    const commands = app.ui.commandActiveId ?? null;
    return html`<textarea
        id=${INPUT_ID}
        class="composer-input"
        rows="1"
        aria-label="Message ${name}"
        placeholder="Message ${isThread(app.place) || !app.place.name ? name : `#${name}`}"
        aria-autocomplete="list"
        aria-controls=${commands ? "command-list" : open ? "mention-list" : nothing}
        aria-activedescendant=${commands ?? active ?? nothing}
        ?hidden=${hidden}
        .value=${live(draft.text)}
        @input=${(event) => onInput(app, event)}
        @keydown=${(event) => onKey(app, event)}
        @click=${(event) => onMentionInput(app, event.target)}
        @blur=${() => closeMentions(app)}
        @paste=${(event) => onPaste(app, event)}
    ></textarea>`;
}

function sendButton(draft) {
    const empty = !draft.text.trim() && !draft.files.length;
    return html`<button class="icon-button send" aria-label="Send message" title="Send message" ?disabled=${empty}>
        ${icon("send")}
    </button>`;
}

/** How many characters are left, once that matters. */
function counter(text) {
    const left = LONGEST_CHARACTERS - [...text].length;
    if (text.length < COUNTED_FROM) {
        return nothing;
    }
    const said = left < 0 ? `${-left} characters too many` : `${left} characters left`;
    return html`<span class="counter ${left < 0 ? "too-long" : ""}" aria-label=${said}>${left}</span>`;
}

function replyBar(app) {
    const { replyTo } = app.ui;
    const original = replyTo && app.store.message(replyTo.channelId, replyTo.messageId);
    if (!original || replyTo.channelId !== app.ui.channelId) {
        return nothing;
    }
    const name = app.store.displayName(original.author.id);
    const set = (value) => {
        app.ui.replyTo = value;
        app.focusComposer();
    };
    return html`<div class="reply-bar">
        <span class="reply-name">Replying to <strong>${name}</strong></span>
        <button
            type="button"
            class="ping-switch"
            aria-pressed=${replyTo.ping}
            @click=${() => set({ ...replyTo, ping: !replyTo.ping })}
        >
            @ ${replyTo.ping ? "On" : "Off"}<span class="visually-hidden">, mention ${name}</span>
        </button>
        <button type="button" class="icon-button" aria-label="Cancel reply" @click=${() => set(null)}>
            ${icon("close")}
        </button>
    </div>`;
}

function typingLine(app) {
    const names = app.store.typing(app.ui.channelId);
    return html`<p class="typing">
        ${names.length ? html`<span class="typing-dots" aria-hidden="true"><i></i><i></i><i></i></span>` : nothing}
        <span>${typingText(names)}</span>
    </p>`;
}

function typingText(names) {
    if (names.length > 3) {
        return "Several people are typing…";
    }
    const last = names.at(-1);
    const said = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${last} are` : `${last} is`;
    return names.length ? `${said} typing…` : "";
}

// -- what is typed --------------------------------------------------------------------------------------------------

function onInput(app, event) {
    const { value } = event.target;
    app.drafts.setText(app.ui.channelId, value);
    fit(event.target);
    onComposerInput(app, value);
    onMentionInput(app, event.target);
    sayTyping(app, value);
    app.update();
}

/** Where the style sheet can't let a field grow with its text. */
function fit(field) {
    if (!CSS.supports("field-sizing", "content")) {
        field.style.height = "auto";
        field.style.height = `${field.scrollHeight}px`;
    }
}

function sayTyping(app, text) {
    const { channelId } = app.ui;
    const soon = typingSaid.channelId === channelId && Date.now() - typingSaid.at < TYPING_EVERY_MS;
    if (soon || !text || text.startsWith("/")) {
        return;
    }
    typingSaid = { channelId, at: Date.now() };
    // Nobody misses it if it fails.
    app.api.post(`/channels/${channelId}/typing`).catch(() => {});
}

function onKey(app, event) {
    if (event.isComposing || onComposerKey(app, event) || onMentionKey(app, event)) {
        return;
    }
    const { target, key } = event;
    if (key === "Enter" && !event.shiftKey && !inCodeBlock(target)) {
        event.preventDefault();
        submit(app);
    } else if (key === "ArrowUp" && !target.value) {
        editLatest(app, event);
    } else if ((key === "PageUp" || key === "PageDown") && !target.value) {
        event.preventDefault();
        app.scroller.scrollBy(key === "PageUp" ? -0.9 : 0.9);
    }
}

/** Within a code block that is not closed yet, Enter is a line of it. */
function inCodeBlock(field) {
    return field.value.slice(0, field.selectionStart).split("```").length % 2 === 0;
}

function closeMentions(app) {
    if (app.ui.mention) {
        app.ui.mention = null;
        app.update();
    }
}

function onSubmit(app, event) {
    event.preventDefault();
    submit(app);
    app.focusComposer();
}

function submit(app) {
    const { channelId, replyTo } = app.ui;
    const { text, files } = app.draft(channelId);
    const wire = toWire(app.store, text.trim());
    if (!wire && !files.length) {
        return;
    }
    if ([...wire].length > LONGEST_CHARACTERS) {
        const action = { label: "Send as a file", run: () => sendAsFile(app) };
        app.alert(`A message can have ${LONGEST_CHARACTERS} characters. Shorten it, or send it as a file.`, {
            action,
        });
        return;
    }
    app.drafts.take(channelId);
    Object.assign(app.ui, { replyTo: null, mention: null, alerts: [], newFrom: null });
    app.jumpToPresent();
    typingSaid = { channelId: null, at: 0 };
    const reply = replyTo?.channelId === channelId ? replyTo : null;
    send(app, channelId, { content: text.trim(), files, replyTo: reply });
}

function sendAsFile(app) {
    const { channelId } = app.ui;
    const { text } = app.draft(channelId);
    app.drafts.setText(channelId, "");
    app.drafts.addFiles(channelId, [new File([text], "message.txt", { type: "text/plain" })]);
    submit(app);
}

// -- editing --------------------------------------------------------------------------------------------------------

function editLatest(app, event) {
    const latest = app.store.latestOwn(app.ui.channelId);
    if (latest) {
        event.preventDefault();
        app.ui.editing = { channelId: latest.channel_id, messageId: latest.id };
        app.drawNow();
    }
}

/** In place of a message's text: Enter saves, Escape cancels. */
export function editorView(app, message) {
    const { editing } = app.ui;
    editing.text ??= toTyped(app.store, message.content);
    const { active } = mentionState(app, EDITOR_ID);
    return html`<div class="editor">
        ${mentionList(app, EDITOR_ID)}
        <textarea
            id=${EDITOR_ID}
            class="composer-input"
            rows="1"
            aria-label="Edit message"
            aria-autocomplete="list"
            aria-activedescendant=${active ?? nothing}
            .value=${live(editing.text)}
            ${ref((field) => focusOnce(editing, field))}
            @input=${(event) => onEditorInput(app, event)}
            @keydown=${(event) => onEditorKey(app, event, message)}
        ></textarea>
        <p class="editor-keys">
            <button type="button" class="link-button" @click=${() => endEditing(app)}>Cancel</button>
            <span aria-hidden="true">·</span>
            <button type="button" class="link-button" @click=${() => save(app, message)}>Save</button>
            <span class="editor-hint">Escape cancels, Enter saves</span>
        </p>
    </div>`;
}

function focusOnce(editing, field) {
    if (field && !editing.focused) {
        editing.focused = true;
        // The list is still being drawn: only afterwards the field can take the focus.
        queueMicrotask(() => {
            field.focus();
            field.setSelectionRange(field.value.length, field.value.length);
            fit(field);
        });
    }
}

function onEditorInput(app, event) {
    app.ui.editing.text = event.target.value;
    fit(event.target);
    onMentionInput(app, event.target);
}

function onEditorKey(app, event, message) {
    event.stopPropagation();
    if (event.isComposing || onMentionKey(app, event)) {
        return;
    }
    if (event.key === "Escape") {
        event.preventDefault();
        endEditing(app);
    } else if (event.key === "Enter" && !event.shiftKey && !inCodeBlock(event.target)) {
        event.preventDefault();
        save(app, message);
    }
}

function endEditing(app) {
    app.ui.editing = null;
    app.ui.mention = null;
    app.focusComposer();
}

async function save(app, message) {
    const { editing } = app.ui;
    const content = toWire(app.store, editing.text.trim());
    if (content === message.content) {
        endEditing(app);
        return;
    }
    if (!content && !message.attachments.length) {
        app.alert("A message can't be empty. Write something, or cancel and delete the message.");
        return;
    }
    try {
        await app.api.patch(`/channels/${message.channel_id}/messages/${message.id}`, { content });
        // Meanwhile they may have begun to edit another one, or to write something else.
        if (app.ui.editing === editing) {
            endEditing(app);
        }
    } catch (error) {
        app.alert(error);
    }
}
