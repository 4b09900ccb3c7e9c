/** The server's channels with their threads, direct messages, and who one is. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

import { ChannelType } from "../store.js";
import { avatar } from "./avatar.js";
import { icon } from "./icons.js";
import { peopleSwitch } from "./people.js";

/** Threads of one channel that are listed; the others are in the channel's list of threads. */
const THREADS_LISTED = 30;

export function sidebar(app) {
    return html`
        <div class="server-head">
            <span class="server-icon" aria-hidden="true">${app.store.guild?.name?.[0] ?? ""}</span>
            <span class="server-name">${app.store.guild?.name ?? "Sandbox"}</span>
        </div>
        <nav class="channels" aria-label="Channels" @click=${(event) => follow(app, event)}>
            <ul>
                ${repeat(
                    app.store.sidebar(),
                    ({ channel }) => channel.id,
                    ({ channel, threads }) => channelItem(app, channel, threads),
                )}
            </ul>
            <h2 class="channels-title">Direct messages</h2>
            <ul>
                ${directs(app)}
            </ul>
        </nav>
        <div class="sidebar-foot">${peopleSwitch(app)} ${themeSwitch(app)}</div>
    `;
}

function channelItem(app, channel, threads) {
    const kind = channel.type === ChannelType.FORUM ? "forum" : "hash";
    // Posts are listed in the forum itself; here only those that are open or that call.
    const listed = kind === "forum" ? threads.filter((one) => isOpenOrUnread(app, one)) : threads;
    return html`<li>
        ${link(app, channel, icon(kind))}
        ${
            listed.length
                ? html`<ul class="threads">
                  ${repeat(
                      listed.slice(0, THREADS_LISTED),
                      (one) => one.id,
                      (one) => html`<li>${link(app, one, nothing)}</li>`,
                  )}
              </ul>`
                : nothing
        }
    </li>`;
}

function isOpenOrUnread(app, thread) {
    return thread.id === app.ui.channelId || app.store.unread(thread.id).unread;
}

/** A link whose name is the place's; what is unread is said behind it. */
function link(app, place, picture) {
    const { unread, mentions } = app.store.unread(place.id);
    const open = place.id === app.ui.channelId;
    const name = app.store.placeName(place);
    return html`<a
        class="place-link ${unread && !open ? "unread" : ""}"
        href="#/${place.id}"
        data-place=${place.id}
        aria-current=${open ? "page" : nothing}
        aria-label=${name}
        aria-description=${description(unread && !open, mentions)}
    >
        ${picture}<span class="place-name" title=${name}>${name}</span>
        ${mentions && !open ? html`<span class="badge" aria-hidden="true">${Math.min(mentions, 99)}</span>` : nothing}
    </a>`;
}

function description(unread, mentions) {
    if (mentions && unread) {
        return mentions === 1 ? "1 mention" : `${mentions} mentions`;
    }
    return unread ? "unread" : nothing;
}

/** Direct messages that exist, and the bot, with whom one can always begin some. */
function directs(app) {
    const { store } = app;
    const open = store.dms();
    const bot = app.session.bot;
    const begun = open.some((one) => one.recipients.some((user) => user.id === bot.id));
    const picture = (place) =>
        avatar(
            app,
            place.recipients.find((one) => one.id !== store.me?.id),
            "s",
        );
    const items = open.map((one) => html`<li>${link(app, one, picture(one))}</li>`);
    if (begun || !store.guild) {
        return items;
    }
    const name = store.user(bot.id) ? store.displayName(bot.id) : bot.name;
    const user = store.user(bot.id) ?? { ...bot, bot: true };
    return [
        ...items,
        html`<li>
            <a class="place-link" href="#/" data-direct=${bot.id} aria-label=${name}>
                ${avatar(app, user, "s")}<span class="place-name">${name}</span>
            </a>
        </li>`,
    ];
}

/** Links open without loading; with a modifier key the browser may open them in a tab. */
function follow(app, event) {
    const target = event.target.closest("a");
    if (!target || event.ctrlKey || event.metaKey || event.shiftKey) {
        return;
    }
    event.preventDefault();
    if (target.dataset.direct) {
        app.openDirect(target.dataset.direct);
    } else {
        app.open(target.dataset.place);
    }
}

function themeSwitch(app) {
    const dark = isDark(app.ui.theme);
    const label = dark ? "Light colours" : "Dark colours";
    return html`<button
        class="icon-button"
        aria-label=${label}
        title=${label}
        @click=${() => app.setTheme(dark ? "light" : "dark")}
    >
        ${icon(dark ? "sun" : "moon")}
    </button>`;
}

function isDark(theme) {
    return theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
}
