/** A forum: its posts, found by words and tags. The form for a new one is in `new_post.js`. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

import { compareIds, timeOf } from "../ids.js";
import { avatar } from "./avatar.js";
import { icon } from "./icons.js";
import { plainText } from "./markdown.js";
import { newPostForm } from "./new_post.js";
import { starterOf } from "./starters.js";
import { tagButtons, tagText } from "./tags.js";
import { agoText } from "./times.js";

/** Posts that are listed at first, and that each "More posts" adds. */
const POSTS_AT_ONCE = 25;

const EXCERPT_CHARACTERS = 200;

export function forum(app) {
    const { place, store } = app;
    const view = viewOf(app);
    const posts = found(app, view);
    const mayPost = store.can(place.id, "send_messages");
    return html`<div class="forum">
        <div class="forum-inner">
            ${app.ui.newPost ? newPostForm(app) : searchLine(app, view, mayPost)}
            ${place.available_tags?.length && !app.ui.newPost ? tagLine(app, view) : nothing}
            <ul class="posts" aria-label="Posts in ${place.name}">
                ${repeat(
                    posts.slice(0, view.shown),
                    (post) => post.id,
                    (post) => html`<li>${card(app, post)}</li>`,
                )}
            </ul>
            ${posts.length ? nothing : html`<p class="forum-empty">${emptyText(view, mayPost)}</p>`}
            ${footer(app, view, posts.length)}
        </div>
    </div>`;
}

/** What somebody searches for here; another forum begins anew. */
function viewOf(app) {
    const { ui, place } = app;
    if (ui.forum?.channelId !== place.id) {
        const sort = "activity";
        ui.forum = { channelId: place.id, words: "", tags: [], sort, shown: POSTS_AT_ONCE, older: "unknown" };
    }
    return ui.forum;
}

function found(app, view) {
    const words = view.words.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (post) =>
        words.every((word) => post.name.toLowerCase().includes(word)) &&
        (!view.tags.length || view.tags.some((tag) => post.applied_tags?.includes(tag)));
    const posts = app.store.threadsOf(app.place.id, { archived: true }).filter(fits);
    return view.sort === "activity" ? posts : posts.sort((a, b) => compareIds(b.id, a.id));
}

function emptyText(view, mayPost) {
    if (view.words || view.tags.length) {
        return "No post fits. Search for something else.";
    }
    return mayPost ? "There is no post yet. Write the first one." : "There is no post yet.";
}

function searchLine(app, view, mayPost) {
    const type = (event) => set(app, { words: event.target.value, shown: POSTS_AT_ONCE });
    const open = () => {
        app.ui.newPost = { title: view.words, text: "", tags: [], files: [] };
        app.drawNow();
    };
    return html`<div class="forum-bar">
        <span class="forum-search">
            ${icon("search")}
            <input
                type="search"
                aria-label="Search posts"
                placeholder="Search posts"
                .value=${view.words}
                @input=${type}
            />
        </span>
        <select
            class="forum-sort"
            aria-label="Sort by"
            .value=${view.sort}
            @change=${(event) => set(app, { sort: event.target.value })}
        >
            <option value="activity">Recently active</option>
            <option value="made">Newest</option>
        </select>
        ${
            mayPost
                ? html`<button class="button button-primary" @click=${open}>
                  ${icon("plus")}<span>New post</span>
              </button>`
                : nothing
        }
    </div>`;
}

function tagLine(app, view) {
    const change = (tags) => set(app, { tags, shown: POSTS_AT_ONCE });
    return tagButtons("Show posts with tag", app.place.available_tags, view.tags, change);
}

function set(app, changes) {
    Object.assign(app.ui.forum, changes);
    app.update();
}

// -- one post -------------------------------------------------------------------------------------------------------

/** The link is the title, so that it is called like the post; the style sheet lets the whole card take a press. */
function card(app, post) {
    const { store } = app;
    const { unread, mentions } = store.unread(post.id);
    const starter = starterOf(app, post.id, post.id);
    const open = (event) => {
        if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
            event.preventDefault();
            app.open(post.id);
        }
    };
    return html`<article class="post ${unread ? "unread" : ""}" aria-label=${post.name}>
        ${tagsOf(app, post)}
        <span class="post-title">
            <a href="#/${post.id}" aria-description=${unread ? "unread" : nothing} @click=${open}>${post.name}</a>
            ${mentions ? html`<span class="badge" aria-hidden="true">${mentions}</span>` : nothing}
        </span>
        <span class="post-text">${excerpt(app, post, starter)}</span>
        <span class="post-foot">
            ${icon("forum")}<span>${replies(post)}</span><span aria-hidden="true">·</span
            ><span>${agoText(timeOf(post.last_message_id ?? post.id), Date.now())}</span>
            ${post.thread_metadata?.archived ? html`<span class="post-closed">${icon("lock")} Closed</span>` : nothing}
        </span>
    </article>`;
}

function replies(post) {
    const count = post.message_count ?? 0;
    return count === 1 ? "1 reply" : `${count} replies`;
}

function tagsOf(app, post) {
    const tags = (app.place.available_tags ?? []).filter((tag) => post.applied_tags?.includes(tag.id));
    return tags.length
        ? html`<span class="post-tags">${tags.map((tag) => html`<span class="tag">${tagText(tag)}</span>`)}</span>`
        : nothing;
}

function excerpt(app, post, starter) {
    const author = starter?.author ?? app.store.user(post.owner_id);
    const text = starter?.content ? plainText(app, starter.content) : "";
    const files = starter?.attachments?.length ?? 0;
    const shown = text.length > EXCERPT_CHARACTERS ? `${text.slice(0, EXCERPT_CHARACTERS)}…` : text;
    return html`${author ? avatar(app, author, "s") : nothing}
        <strong>${author ? app.store.displayName(author.id) : ""}</strong>
        <span>${shown || (files ? `${files === 1 ? "1 file" : `${files} files`}` : "")}</span>`;
}

// -- further posts --------------------------------------------------------------------------------------------------

function footer(app, view, count) {
    if (count > view.shown) {
        const more = () => set(app, { shown: view.shown + POSTS_AT_ONCE });
        return html`<button class="button forum-more" @click=${more}>More posts</button>`;
    }
    if (view.older === "all") {
        return nothing;
    }
    const busy = view.older === "fetching";
    return html`<button class="button forum-more" ?disabled=${busy} @click=${() => fetchOlder(app, view)}>
        ${busy ? "Loading…" : "Closed posts"}
    </button>`;
}

async function fetchOlder(app, view) {
    set(app, { older: "fetching" });
    try {
        const { threads } = await app.api.get(`/channels/${view.channelId}/threads/archived/public`, { limit: 100 });
        threads.forEach((one) => app.store.putPlace(one));
        view.older = "all";
    } catch (error) {
        view.older = "unknown";
        app.alert(error);
    }
    app.update();
}
