/**
 * A message: who, when, what it answers, what it says, and what one can do with it.
 *
 * Which part looks how is in style/message.css. Lines of the system (renamed, thread started) are messages too.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { attachmentsView } from "./attachments.js";
import { avatar } from "./avatar.js";
import { editorView } from "./composer.js";
import { componentsView } from "./components.js";
import { embedsView } from "./embed.js";
import { icon } from "./icons.js";
import { inside } from "./inside.js";
import { markdown, plainText } from "./markdown.js";
import { onMarkdownEvent } from "./markdown_events.js";
import { moreButton, onMessageKey, toolbarView } from "./message_actions.js";
import { reactionsView } from "./reactions.js";
import { clockTime, longTime, messageTime } from "./timestamps.js";

const RENAMED = 4;
const THREAD_CREATED = 18;
const REPLY = 19;
const COMMAND = 20;
const STARTER = 21;
const MENU_COMMAND = 23;
const SPOKEN = new Set([0, REPLY, COMMAND, STARTER, MENU_COMMAND]);
/** Types of a reference and of an interaction. */
const FORWARD = 1;
const COMMAND_USED = 2;
const SUPPRESS_EMBEDS = 1 << 2;
const EPHEMERAL = 1 << 6;
const LOADING = 1 << 7;
const COMPONENTS_V2 = 1 << 15;
const GROUP_MS = 7 * 60 * 1000;

/** Return whether a message begins a group: with its author's name, not as a further line of theirs. */
export function startsGroup(app, previous, message) {
    if (!previous || previous.author.id !== message.author.id) {
        return true;
    }
    if (isSystem(previous) || isSystem(message) || message.message_reference || commandOf(message)) {
        return true;
    }
    // The card of a thread stands in between.
    if (threadOf(app, previous)) {
        return true;
    }
    // What only one person sees must not look like a line of the message above, which all see.
    if ((previous.flags & EPHEMERAL) !== (message.flags & EPHEMERAL)) {
        return true;
    }
    return Date.parse(message.timestamp) - Date.parse(previous.timestamp) > GROUP_MS;
}

function isSystem(message) {
    return !SPOKEN.has(message.type ?? 0);
}

function commandOf(message) {
    const metadata = message.interaction_metadata ?? message.interaction;
    return metadata?.type === COMMAND_USED ? metadata : null;
}

/** Return a message's `<article>`; `grouped`: without name and picture. */
export function messageView(app, message, { grouped = false } = {}) {
    if (isSystem(message)) {
        return systemView(app, message);
    }
    const ephemeral = Boolean(message.flags & EPHEMERAL);
    const name = authorName(app, message.author);
    const classes = ["message", grouped && "grouped", ephemeral && "ephemeral"];
    return html`<article
        class=${classes.filter(Boolean).join(" ")}
        aria-label="${name}, ${messageTime(message.timestamp)}"
        data-message-id=${message.id}
        tabindex="-1"
        @keydown=${(event) => onMessageKey(app, message, event)}
    >
        ${aboveView(app, message)}
        <div class="message-side">
            ${
                grouped
                    ? html`<time class="side-time" aria-hidden="true">${clockTime(message.timestamp)}</time>`
                    : avatar(app, message.author)
            }
        </div>
        <div class="message-body">
            ${grouped ? moreButton(app, message) : headView(app, message, name)} ${bodyView(app, message)}
            ${ephemeral ? ephemeralFoot(app, message) : nothing}
        </div>
        ${toolbarView(app, message)}
    </article>`;
}

function authorName(app, author) {
    return app.store.user(author.id) ? app.store.displayName(author.id) : (author.global_name ?? author.username);
}

function headView(app, message, name) {
    const colour = app.store.colorOf?.(message.author.id);
    return html`<div class="message-head">
        <span class="author" .style=${colour ? `color: ${colour}` : ""}><bdi>${name}</bdi></span>
        ${message.author.bot ? html`<span class="bot-badge">APP</span>` : nothing} ${timeView(message.timestamp)}
        ${moreButton(app, message)}
    </div>`;
}

function timeView(iso) {
    const title = longTime(Date.parse(iso) / 1000);
    return html`<time class="message-time" datetime=${iso} title=${title}>${messageTime(iso)}</time>`;
}

// --- what is above: the message it answers, the command that was used ------------------------------------------------

function aboveView(app, message) {
    const command = commandOf(message);
    if (command) {
        return commandLine(app, command, message);
    }
    if (message.type === REPLY) {
        return replyView(app, message);
    }
    return nothing;
}

function commandLine(app, command, message) {
    const name = command.name ?? message.interaction?.name;
    return html`<div class="above">
        <span class="spine"></span>${command.user ? avatar(app, command.user, "s") : nothing}
        <span class="above-name"><bdi>${authorName(app, command.user ?? message.author)}</bdi></span> used
        <span class="command-name">${name ? `/${name}` : "a command"}</span>
    </div>`;
}

function replyView(app, message) {
    const original = message.referenced_message;
    if (!original) {
        return html`<div class="above">
            <span class="spine"></span><span class="above-gone">The original message was deleted</span>
        </div>`;
    }
    const { channel_id: channelId, message_id: id } = message.message_reference ?? {};
    const words = plainText(app, original.content ?? "");
    const files = original.attachments?.length || original.embeds?.length;
    return html`<div class="above">
        <span class="spine"></span>${avatar(app, original.author, "s")}
        <span class="above-name"><bdi>${authorName(app, original.author)}</bdi></span>
        <button
            type="button"
            class="above-text"
            title="Go to the message"
            @click=${() => app.open(channelId ?? message.channel_id, id ?? original.id)}
        >
            <bdi>${words || (files ? "Press to see the attachment" : "Press to see the message")}</bdi>
        </button>
        ${files ? icon("file") : nothing}
    </div>`;
}

// --- the body --------------------------------------------------------------------------------------------------------

function bodyView(app, message) {
    if (message.flags & LOADING) {
        const name = authorName(app, message.author);
        return html`<div class="content thinking" role="status">
            <span class="dots" aria-hidden="true"><i></i><i></i><i></i></span><bdi>${name}</bdi> is thinking…
        </div>`;
    }
    const v2 = Boolean(message.flags & COMPONENTS_V2);
    const embeds = message.flags & SUPPRESS_EMBEDS ? [] : (message.embeds ?? []);
    const editing = app.ui.editing?.messageId === message.id;
    return html`${editing ? editorView(app, message) : contentView(app, message)} ${forwardView(app, message)}
    ${attachmentsView(app, message.attachments ?? [], message.id)} ${embedsView(app, embeds)} ${otherPartsView(message)}
    ${componentsView(app, message, { v2 })} ${failedView(app, message)} ${reactionsView(app, message)}
    ${threadView(app, message)}`;
}

function contentView(app, message) {
    const edited = message.edited_timestamp && !(message.flags & LOADING);
    if (!message.content && !edited) {
        return nothing;
    }
    const act = (event) => onMarkdownEvent(app, event);
    return html`<div class="content" @click=${act} @keydown=${act}>
        ${message.content ? markdown(app, message.content, { everyone: message.mention_everyone }) : nothing}
        ${
            edited
                ? html`<span class="edited" title=${longTime(Date.parse(message.edited_timestamp) / 1000)}
                      >(edited)</span
                  >`
                : nothing
        }
    </div>`;
}

/** What this page cannot do anything with is named, or a message would look empty. */
function otherPartsView(message) {
    const stickers = (message.sticker_items ?? []).map((one) => `Sticker: ${one.name}`);
    const { poll } = message;
    const answers = (poll?.answers ?? []).map((one) => one.poll_media?.text).join(", ");
    const parts = poll ? [...stickers, `Poll: ${poll.question?.text ?? ""} (${answers})`] : stickers;
    return parts.map((text) => html`<p class="content other-part"><bdi>${text}</bdi></p>`);
}

/** A copy of a message from elsewhere, which names no author. */
function forwardView(app, message) {
    const [snapshot] = message.message_snapshots ?? [];
    if (message.message_reference?.type !== FORWARD || !snapshot) {
        return nothing;
    }
    const copy = snapshot.message;
    const { channel_id: channelId, message_id: id } = message.message_reference;
    const place = app.store.place(channelId);
    const act = (event) => onMarkdownEvent(app, event);
    return html`<div class="forwarded">
        <div class="forwarded-head">${icon("forward")} Forwarded</div>
        ${
            copy.content
                ? html`<div class="content" @click=${act} @keydown=${act}>${markdown(app, copy.content)}</div>`
                : nothing
        }
        ${attachmentsView(app, copy.attachments ?? [], message.id)} ${embedsView(app, copy.embeds ?? [])}
        ${
            place
                ? html`<button type="button" class="forwarded-from" @click=${() => app.open(channelId, id)}>
                      <bdi class="place-name">${app.store.placeName(place)}</bdi> · ${messageTime(copy.timestamp)}
                      ${icon("chevron")}
                  </button>`
                : html`<span class="forwarded-from">${messageTime(copy.timestamp)}</span>`
        }
    </div>`;
}

function failedView(app, message) {
    const why = inside(app).failed.get(message.id);
    if (!why) {
        return nothing;
    }
    return html`<p class="interaction-failed" role="alert">${icon("warning")} ${why}</p>`;
}

/** The thread that began at a message; not the one that it opens, as the first of a post does. */
function threadOf(app, message) {
    const thread = app.store.place(message.id) ?? message.thread;
    return thread?.id === message.id && message.channel_id !== thread.id ? thread : null;
}

function threadView(app, message) {
    const thread = threadOf(app, message);
    if (!thread) {
        return nothing;
    }
    const count = thread.message_count ?? 0;
    const latest = plainText(app, app.store.latestShared(thread.id)?.content ?? "");
    return html`<div class="thread-below">
        <span class="thread-hook" aria-hidden="true"></span>
        <button type="button" class="thread-card" @click=${() => app.open(thread.id)}>
            <span class="thread-card-head">
                <bdi class="thread-card-name">${thread.name}</bdi>
                <span class="thread-card-count">${count} ${count === 1 ? "message" : "messages"} ›</span>
            </span>
            <span class="thread-card-latest"><bdi>${latest || "Open the thread"}</bdi></span>
        </button>
    </div>`;
}

function ephemeralFoot(app, message) {
    return html`<p class="only-you">
        ${icon("eye")} Only you can see this ·
        <button type="button" class="link-button" aria-label="Dismiss message" @click=${() => app.dismiss(message)}>
            Dismiss message
        </button>
    </p>`;
}

// --- lines of the system ---------------------------------------------------------------------------------------------

function systemView(app, message) {
    const name = authorName(app, message.author);
    return html`<article
        class="message system"
        aria-label="${name}, ${messageTime(message.timestamp)}"
        data-message-id=${message.id}
        tabindex="-1"
    >
        <div class="message-side">${icon(message.type === THREAD_CREATED ? "thread" : "edit")}</div>
        <div class="message-body">
            <p class="content system-text">
                <b><bdi>${name}</bdi></b> ${systemWords(app, message)} ${timeView(message.timestamp)}
            </p>
        </div>
    </article>`;
}

function systemWords(app, message) {
    if (message.type === RENAMED) {
        return html`changed the name: <b><bdi>${message.content}</bdi></b>`;
    }
    if (message.type !== THREAD_CREATED) {
        return html`<bdi>${message.content || "did something"}</bdi>`;
    }
    const id = message.message_reference?.channel_id ?? message.id;
    return html`started a thread:
        <button type="button" class="link-button" @click=${() => app.open(id)}><bdi>${message.content}</bdi></button>`;
}
