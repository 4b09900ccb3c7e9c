/** What can be done with the open thread: another name, other tags, closing it, deleting it. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

import { ChannelType } from "../store.js";
import { explain } from "../wording.js";
import { modal } from "./floating.js";
import { menuButton, menuItem } from "./menu.js";
import { MOST_TAGS, tagButtons } from "./tags.js";

const LONGEST_NAME = 100;

export function threadMenu(app) {
    return menuButton(app, { id: "thread", label: "Thread options", picture: "more", items: () => items(app) });
}

function items(app) {
    const { place: thread, store } = app;
    const moderator = store.can(thread.id, "manage_threads");
    const mayChange = moderator || thread.owner_id === app.me.id;
    const { archived, locked } = thread.thread_metadata ?? {};
    const mayOpen = archived && (!locked || moderator);
    const isPost = store.parentOf(thread)?.type === ChannelType.FORUM;
    const ask = (kind) => () => {
        app.ui.threadDialog = { kind, thread, name: thread.name, tags: thread.applied_tags ?? [] };
        app.update();
    };
    const item = (shown, ...rest) => (shown ? menuItem(app, ...rest) : nothing);
    return html`
        ${item(mayChange, "Rename", "edit", ask("rename"))}
        ${item(mayChange && isPost, "Edit tags", "check", ask("tags"))}
        ${item(!archived, "Close thread", "lock", () => patch(app, thread, { archived: true }))}
        ${item(mayOpen, "Open thread again", "refresh", () => patch(app, thread, { archived: false }))}
        ${item(true, "Copy link", "link", () => copyLink(app, thread))}
        ${item(moderator, "Delete thread", "trash", ask("delete"), { danger: true })}
    `;
}

async function patch(app, thread, changes) {
    try {
        app.store.putPlace(await app.api.patch(`/channels/${thread.id}`, changes));
        app.update();
    } catch (error) {
        app.alert(error);
    }
}

async function copyLink(app, thread) {
    const link = `https://discord.com/channels/${app.store.guild.id}/${thread.id}`;
    try {
        await navigator.clipboard.writeText(link);
        app.toast("Link copied.");
    } catch {
        app.alert(`The browser does not let this page copy. The link is ${link}`);
    }
}

// -- dialogs --------------------------------------------------------------------------------------------------------

const TITLES = { rename: "Rename thread", tags: "Edit tags", delete: "Delete thread" };

/** The dialog that the menu opened, if any. */
export function threadDialog(app) {
    const dialog = app.ui.threadDialog;
    if (!dialog) {
        return nothing;
    }
    const close = () => {
        app.ui.threadDialog = null;
        app.update();
    };
    const finish = (event) => {
        event.preventDefault();
        submit(app, dialog, close);
    };
    return html`<dialog class="dialog" aria-labelledby="thread-dialog-title" ${ref(modal)} @close=${close}>
        <form @submit=${finish}>
            <h2 id="thread-dialog-title">${TITLES[dialog.kind]}</h2>
            ${body(app, dialog)}
            <p class="dialog-problem" role="alert">${dialog.problem ?? ""}</p>
            <div class="dialog-actions">
                <button type="button" class="button" @click=${close}>Cancel</button>
                <button class="button ${dialog.kind === "delete" ? "button-danger" : "button-primary"}">
                    ${dialog.kind === "delete" ? "Delete" : "Save"}
                </button>
            </div>
        </form>
    </dialog>`;
}

function body(app, dialog) {
    if (dialog.kind === "delete") {
        return html`<p>“${dialog.thread.name}” and all its messages will be gone for everybody.</p>`;
    }
    if (dialog.kind === "rename") {
        return html`<label class="field">
            <span class="field-label">Name</span>
            <input
                maxlength=${LONGEST_NAME}
                required
                .value=${dialog.name}
                @input=${(event) => (dialog.name = event.target.value)}
            />
        </label>`;
    }
    return tagChoice(app, dialog);
}

function tagChoice(app, dialog) {
    const moderator = app.store.can(dialog.thread.id, "manage_threads");
    const change = (tags) => {
        dialog.tags = tags.slice(0, MOST_TAGS);
        app.update();
    };
    const offered = app.store.parentOf(dialog.thread)?.available_tags ?? [];
    return tagButtons("Tags", offered, dialog.tags, change, (tag) => tag.moderated && !moderator);
}

async function submit(app, dialog, close) {
    const { kind, thread } = dialog;
    const path = `/channels/${thread.id}`;
    try {
        if (kind === "delete") {
            await app.api.delete(path);
        } else {
            const changes = kind === "rename" ? { name: dialog.name.trim() } : { applied_tags: dialog.tags };
            app.store.putPlace(await app.api.patch(path, changes));
        }
        close();
    } catch (error) {
        dialog.problem = explain(error);
        app.update();
    }
}
