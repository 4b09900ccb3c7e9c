/**
 * Markdown as Discord shows it: the only way in which text from the network becomes HTML.
 *
 * markdown-it makes tokens by our rules, its renderer escapes, and DOMPurify lets through what is listed here. Bots
 * edit messages several times a second: what was rendered is kept by its text, and in the page only the blocks that
 * differ are replaced, so that a selection, an open spoiler or the scrolling of code survives the next edit.
 */

import { html, noChange } from "../vendor/lit-html/lit-html.js";
import { Directive, directive } from "../vendor/lit-html/directive.js";
import DOMPurify from "../vendor/dompurify/purify.es.mjs";
import MarkdownIt from "../vendor/markdown-it/markdown-it.esm.min.mjs";

import { addBlockRules } from "./markdown_blocks.js";
import { highlighted } from "./markdown_code.js";
import { addInlineRules } from "./markdown_inline.js";
import { longTime, relativeTime, styledTime } from "./timestamps.js";

const LONGEST = 8000;
const KEPT = 500;
const TAGS = "p h2 h3 h4 small ul ol li blockquote pre code strong em u s span a time bdi button div";
const ATTRIBUTES = (
    "class title target rel start datetime role tabindex type aria-label " +
    "data-user data-role data-channel data-command data-message data-relative"
).split(" ");
const PURIFY = {
    ALLOWED_TAGS: [...TAGS.split(" "), "#text"],
    ALLOWED_ATTR: ["href", ...ATTRIBUTES],
    // Only href is an address; without this list the others would have to look like one.
    ADD_URI_SAFE_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^https?:\/\//i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
};
const CODE_PURIFY = { ALLOWED_TAGS: ["span", "#text"], ALLOWED_ATTR: ["class"], RETURN_TRUSTED_TYPE: true };
const MESSAGE_URL =
    /^https:\/\/(?:(?:ptb|canary)\.)?discord(?:app)?\.com\/channels\/(\d{1,20}|@me)\/(\d{1,20})(?:\/(\d{1,20}))?\/?$/;
const ONLY_EMOJI = /^(?:[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200d\ufe0f\s])+$/u;

const md = new MarkdownIt("zero");
addInlineRules(md);
addBlockRules(md);
md.inline.ruler.disable("text");

const escape = md.utils.escapeHtml;
const kept = new Map();

/**
 * Return what shows a text as Markdown.
 *
 * @param options `small`: headings and emoji stay as large as text; `everyone`: @everyone is a mention.
 */
export function markdown(app, written, { small = false, everyone = false } = {}) {
    // Discord itself takes empty lines away from both ends.
    const text = written.replace(/^(?:[^\S\n]*\n)+|\s+$/g, "");
    if (text.length > LONGEST) {
        return html`<div class="md md-plain">${longText(text)}</div>`;
    }
    return html`<div class=${small ? "md md-small" : "md"} ${blocks(app, text, everyone)}></div>`;
}

/** Text that no Discord would send: as it is, its beginning first, and all of it only when asked for. */
function longText(text) {
    const head = text.slice(0, LONGEST);
    const count = (text.length - LONGEST).toLocaleString("en-US");
    return html`<p>${head}</p>
        <details class="md-rest">
            <summary>${count} more characters</summary>
            <p>${text.slice(LONGEST)}</p>
        </details>`;
}

/** Return a text in one line, without its styles, and with names in place of mentions. */
export function plainText(app, text) {
    const words = [];
    let hidden = 0;
    const walk = (tokens) => {
        for (const token of tokens) {
            if (token.type === "spoiler_open" && (hidden += 1) === 1) {
                words.push("▒▒▒▒");
            }
            if (token.type === "spoiler_close") {
                hidden -= 1;
            }
            if (hidden > 0) {
                continue;
            }
            if (token.children) {
                walk(token.children);
            } else {
                words.push(plainToken(app, token));
            }
            if (token.type.endsWith("_close") && !token.markup) {
                words.push(" ");
            }
        }
    };
    walk(md.parse(text.slice(0, LONGEST), {}));
    return words.join("").replace(/\s+/g, " ").trim();
}

function plainToken(app, token) {
    switch (token.type) {
        case "mention":
            return mentionName(app, token.meta);
        case "command":
            return `/${token.meta.name}`;
        case "emoji":
            return `:${token.meta.name}:`;
        case "time":
            return styledTime(token.meta.at, token.meta.form);
        case "link":
            return token.meta.text;
        default:
            return token.content;
    }
}

function mentionName(app, { of, id }) {
    const { store } = app;
    if (of === "everyone") {
        return id;
    }
    if (of === "role") {
        return `@${store.roles.get(id)?.name ?? "deleted-role"}`;
    }
    if (of === "user") {
        return `@${store.user(id) ? store.displayName(id) : "unknown-user"}`;
    }
    const place = store.place(id);
    return place ? store.placeName(place) : "unknown";
}

// --- HTML ------------------------------------------------------------------------------------------------------------

const { rules } = md.renderer;
rules.code_inline = (tokens, at) => `<code>${escape(tokens[at].content)}</code>`;
rules.spoiler_open = () =>
    '<span class="spoiler" role="button" tabindex="0" aria-label="Spoiler: press to show"><span class="hidden">';
rules.spoiler_close = () => "</span></span>";
rules.link_open = (tokens, at) => `<a ${linkTo(tokens[at].meta.url, tokens[at].meta.title)}>`;
rules.link_close = () => "</a>";
rules.link = (tokens, at, _options, env) => {
    const { url, text } = tokens[at].meta;
    return messageLink(env.app, text) ?? `<a ${linkTo(url)}>${escape(text)}</a>`;
};
rules.mention = (tokens, at, _options, env) => mentionHtml(env.app, tokens[at].meta);
rules.command = (tokens, at) => {
    const name = escape(tokens[at].meta.name);
    return `<span class="mention" role="button" tabindex="0" data-command="${name}">/${name}</span>`;
};
rules.emoji = (tokens, at) => `<span class="emoji-name">:${escape(tokens[at].meta.name)}:</span>`;
rules.time = (tokens, at) => timeHtml(tokens[at].meta);
rules.fence = (tokens, at) => {
    const { info, content } = tokens[at];
    const copy = '<button type="button" class="copy-code" aria-label="Copy code" title="Copy code"></button>';
    return `<div class="code-block"><pre><code>${highlighted(content, info)}</code></pre>${copy}</div>`;
};
rules.small_open = () => '<small class="subtext">';

function linkTo(url, title) {
    // What the link is called says nothing about where it leads: the address can always be seen.
    const about = title ? `${title}\n\n${url}` : url;
    return `href="${escape(url)}" title="${escape(about)}" target="_blank" rel="noopener noreferrer nofollow"`;
}

function messageLink(app, text) {
    const [, guild, channel, message] = MESSAGE_URL.exec(text) ?? [];
    const place = channel && app.store.place(channel);
    if (!place || (guild !== "@me" && guild !== app.store.guild?.id)) {
        return null;
    }
    const name = escape(app.store.placeName(place));
    const there = message ? ` data-message="${message}"` : "";
    const sign = message ? '<span class="jump-sign"></span>' : "";
    const leads = `role="link" tabindex="0" data-channel="${channel}"${there}`;
    return `<span class="mention" ${leads}>${placeHtml(name)}${sign}</span>`;
}

/** A place's name; the sign in front of it is decoration, made by the style sheet. */
function placeHtml(name) {
    return `<bdi class="place-name">${name}</bdi>`;
}

function mentionHtml(app, mentioned) {
    const name = escape(mentionName(app, mentioned));
    const { of, id } = mentioned;
    if (of === "everyone") {
        return `<span class="mention">${name}</span>`;
    }
    // Names are people's and may hold letters that turn the direction around.
    if (of !== "channel") {
        return `<span class="mention" data-${of}="${id}"><bdi>${name}</bdi></span>`;
    }
    if (!app.store.place(id)) {
        return `<span class="mention">${placeHtml(name)}</span>`;
    }
    return `<span class="mention" role="link" tabindex="0" data-channel="${id}">${placeHtml(name)}</span>`;
}

function timeHtml({ at, form }) {
    const relative = form === "R" ? ` data-relative="${at}"` : "";
    const about = `datetime="${new Date(at * 1000).toISOString()}" title="${escape(longTime(at))}"${relative}`;
    return `<time class="timestamp" ${about}>${escape(styledTime(at, form))}</time>`;
}

function sanitised(markup) {
    const nodes = [...DOMPurify.sanitize(markup, PURIFY).childNodes];
    return nodes.map((node) => ({ node, html: node.outerHTML ?? node.textContent }));
}

function rendered(app, text, everyone) {
    const key = `${app.store.namesVersion}:${everyone}:${text}`;
    const made = kept.get(key) ?? sanitised(md.render(text, { app, everyone }));
    keep(key, made);
    return made;
}

/** Return code in its colours, as markup that has been sanitised. */
export function highlightedCode(code, language) {
    const key = `code:${language}:${code}`;
    const made = kept.get(key) ?? DOMPurify.sanitize(highlighted(code, language), CODE_PURIFY);
    keep(key, made);
    return made;
}

/** Remember what was made; the oldest in use is the first that goes. */
function keep(key, made) {
    kept.delete(key);
    kept.set(key, made);
    if (kept.size > KEPT) {
        kept.delete(kept.keys().next().value);
    }
}

class Blocks extends Directive {
    shown = [];

    update(part, [app, text, everyone]) {
        const wanted = rendered(app, text, everyone);
        if (wanted === this.shown) {
            return noChange;
        }
        const { element } = part;
        element.classList.toggle("jumbo", text.length <= 80 && ONLY_EMOJI.test(text));
        const same = (one, other) => one !== undefined && one.html === other?.html;
        let head = 0;
        while (head < wanted.length && same(wanted[head], this.shown[head])) {
            head += 1;
        }
        let tail = 0;
        const most = Math.min(wanted.length, this.shown.length) - head;
        while (tail < most && same(wanted.at(-1 - tail), this.shown.at(-1 - tail))) {
            tail += 1;
        }
        const after = element.childNodes[this.shown.length - tail] ?? null;
        for (let left = this.shown.length - tail - head; left > 0; left -= 1) {
            element.childNodes[head].remove();
        }
        for (const { node } of wanted.slice(head, wanted.length - tail)) {
            element.insertBefore(node.cloneNode(true), after);
        }
        this.shown = wanted;
        return noChange;
    }

    render() {
        return noChange;
    }
}

const blocks = directive(Blocks);

setInterval(() => {
    for (const time of document.querySelectorAll("time[data-relative]")) {
        const now = relativeTime(Number(time.dataset.relative));
        if (time.textContent !== now) {
            time.textContent = now;
        }
    }
}, 1000);
