/**
 * Discord's inline Markdown as rules of markdown-it: styles, spoilers, links, mentions, timestamps, emoji.
 *
 * Rules only make tokens; names are looked up when these are rendered. A rule that looks for an end remembers in
 * `state.env` that there is none, or a text that consists of openers would take quadratic time.
 */

import { isTime } from "./timestamps.js";

const WORD = /[\p{L}\p{N}_]/u;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const STYLES = [
    // Longest first: three stars are bold in italics, and never italics around an empty bold.
    { marker: "**", tag: "strong", from: "*" },
    { marker: "__", tag: "u", from: "_" },
    { marker: "~~", tag: "s", from: "~" },
    { marker: "||", tag: "spoiler", from: "|" },
    { marker: "*", tag: "em", from: "*" },
    { marker: "_", tag: "em", from: "_" },
];
const ITALICS = STYLES[4];
const MENTION = /^<(?:@(!|&)?(\d{1,20})|#(\d{1,20}))>/;
const COMMAND = /^<\/([^:<>\n]{1,98}):(\d{1,20})>/;
const EMOJI = /^<a?:(\w{2,32}):\d{1,20}>/;
const TIME = /^<t:(-?\d{1,13})(?::([tTdDfFsSR]))?>/;
const ANGLED = /^<(https?:\/\/[^\s<>]+)>/i;
const BARE = /^https?:\/\/[^\s<]+/i;
const TITLE = /^\s+"([^"\n]*)"$/;

/** Return the address if it is one that a link may lead to: http or https, and nothing else. */
export function safeUrl(text) {
    try {
        const url = new URL(text);
        return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
    } catch {
        return null;
    }
}

/** Add the rules to a markdown-it that has none of its own. */
export function addInlineRules(md) {
    const rule = (name, run) => md.inline.ruler.push(name, run);
    rule("escape", escape);
    rule("code", code);
    rule("style", style);
    rule("angled", angled);
    rule("masked", maskedLink);
    rule("bare", bareLink);
    rule("everyone", everyone);
    // The text rule of markdown-it stops at its own special characters, which "h" of https and "@" are not.
    md.inline.ruler.before("escape", "words", words);
}

const SPECIAL = new Set("\\`*_~|<[@");

function words(state, silent) {
    let end = state.pos;
    while (end < state.posMax && !SPECIAL.has(state.src[end]) && !startsLink(state.src, end)) {
        end += 1;
    }
    if (end === state.pos) {
        return false;
    }
    if (!silent) {
        state.pending += state.src.slice(state.pos, end);
    }
    state.pos = end;
    return true;
}

function startsLink(src, at) {
    const first = src.charCodeAt(at) | 32;
    return first === 0x68 && /^https?:\/\//i.test(src.slice(at, at + 8));
}

function escape(state, silent) {
    const next = state.src[state.pos + 1] ?? "";
    if (state.src[state.pos] !== "\\" || state.pos + 1 >= state.posMax || !PUNCTUATION.test(next)) {
        return false;
    }
    if (!silent) {
        state.pending += next;
    }
    state.pos += 2;
    return true;
}

/** Return where a run of that many backticks ends the code that begins at `from`, or -1. */
function codeEnd(src, from, length, max) {
    for (let at = from; at < max;) {
        at = src.indexOf("`", at);
        if (at < 0 || at >= max) {
            return -1;
        }
        let end = at;
        while (src[end] === "`" && end < max) {
            end += 1;
        }
        if (end - at === length) {
            return at;
        }
        at = end;
    }
    return -1;
}

function code(state, silent) {
    const { src, pos, posMax } = state;
    if (src[pos] !== "`") {
        return false;
    }
    let open = pos;
    while (src[open] === "`" && open < posMax) {
        open += 1;
    }
    const close = known(state, `code${open - pos}`, open, () => codeEnd(src, open, open - pos, posMax));
    if (close < 0) {
        // All of the run, or its second backtick would be taken for the opening of a shorter one.
        if (!silent) {
            state.pending += src.slice(pos, open);
        }
        state.pos = open;
        return true;
    }
    if (!silent) {
        const inner = src.slice(open, close);
        const padded = /^ .*[^ ].* $/s.test(inner) && /^ `|` $/.test(inner);
        state.push("code_inline", "code", 0).content = padded ? inner.slice(1, -1) : inner;
    }
    state.pos = close + (open - pos);
    return true;
}

/** Return what `find` finds, once for all: no end behind one place is none behind a later one either. */
function known(state, what, from, find) {
    const none = (state.env.without ??= new Map());
    const key = `${what}:${state.posMax}`;
    if (none.has(key) && none.get(key).src === state.src && from >= none.get(key).from) {
        return -1;
    }
    const found = find();
    if (found < 0) {
        none.set(key, { src: state.src, from });
    }
    return found;
}

function style(state, silent) {
    const { src, pos } = state;
    const found = STYLES.filter((one) => one.from === src[pos] && src.startsWith(one.marker, pos));
    const three = src.startsWith("***", pos);
    for (const { marker, tag } of three ? [ITALICS, ...found] : found) {
        const open = pos + marker.length;
        if (!opens(src, pos, marker, state.posMax)) {
            continue;
        }
        const close = known(state, `style${marker}`, open, () => styleEnd(src, open, marker, state.posMax));
        if (close <= open) {
            continue;
        }
        // Three stars: italics around bold only where the bold ends in them; else it is bold around italics.
        if (marker === "*" && src[open] === "*" && !(three && src.slice(open + 2, close).includes("**"))) {
            continue;
        }
        if (!silent) {
            wrap(state, tag, marker, open, close);
        }
        state.pos = close + marker.length;
        return true;
    }
    return false;
}

function opens(src, pos, marker, max) {
    const next = src[pos + marker.length];
    if (next === undefined || pos + marker.length >= max) {
        return false;
    }
    if (marker === "*") {
        return !/\s/.test(next);
    }
    return marker !== "_" || !WORD.test(src[pos - 1] ?? "");
}

/** Return where a style ends that began before `from`, or -1; what is escaped or code has no markers. */
function styleEnd(src, from, marker, max) {
    const single = marker.length === 1;
    for (let at = from; at < max;) {
        if (src[at] === "\\") {
            at += 2;
        } else if (src[at] === "`") {
            at = pastCode(src, at, max);
        } else if (single && src[at] === marker && src[at + 1] === marker && at + 1 < max) {
            at = pastPair(src, at, marker, max);
        } else if (
            at > from &&
            at + marker.length <= max &&
            src.startsWith(marker, at) &&
            closes(src, at, marker, max)
        ) {
            return at;
        } else {
            at += 1;
        }
    }
    return -1;
}

function pastCode(src, at, max) {
    let open = at;
    while (src[open] === "`" && open < max) {
        open += 1;
    }
    const close = codeEnd(src, open, open - at, max);
    return close < 0 ? open : close + (open - at);
}

/** Skip two markers of one character, which are of another style, but not if a third ends this one. */
function pastPair(src, at, marker, max) {
    let end = at;
    while (src[end] === marker && end < max) {
        end += 1;
    }
    return end - at === 2 ? end : end - 1;
}

function closes(src, at, marker, max) {
    const after = at + marker.length < max ? src[at + marker.length] : "";
    if (marker === "*") {
        return !/\s/.test(src[at - 1]);
    }
    if (marker === "_") {
        return !WORD.test(after);
    }
    // Of three stars the last two end the bold, and the first ends what is in it.
    return marker[0] === "|" || marker[0] === "~" || after !== marker[0];
}

function wrap(state, tag, marker, from, to) {
    const max = state.posMax;
    state.push(`${tag}_open`, tag, 1).markup = marker;
    state.pos = from;
    state.posMax = to;
    state.md.inline.tokenize(state);
    state.push(`${tag}_close`, tag, -1).markup = marker;
    state.posMax = max;
}

function push(state, type, meta) {
    state.push(type, "", 0).meta = meta;
}

/** What stands in angle brackets: a mention, a command, an emoji, a time or an address. */
function angled(state, silent) {
    if (state.src[state.pos] !== "<") {
        return false;
    }
    const rest = state.src.slice(state.pos, Math.min(state.posMax, state.pos + 2100));
    const found =
        mention(rest) ??
        match(COMMAND, rest, ([, name]) => ["command", { name }]) ??
        match(EMOJI, rest, ([, name]) => ["emoji", { name }]) ??
        match(TIME, rest, ([, at, form]) => isTime(at) && ["time", { at: Number(at), form: form ?? "f" }]) ??
        match(ANGLED, rest, ([, url]) => safeUrl(url) && ["link", { url: safeUrl(url), text: url }]);
    if (!found) {
        return false;
    }
    if (!silent) {
        push(state, found.type, found.meta);
    }
    state.pos += found.length;
    return true;
}

function match(pattern, text, make) {
    const found = pattern.exec(text);
    const made = found && make(found);
    return made ? { type: made[0], meta: made[1], length: found[0].length } : null;
}

function mention(text) {
    return match(MENTION, text, ([, kind, id, channel]) => {
        if (channel) {
            return ["mention", { of: "channel", id: channel }];
        }
        return ["mention", { of: kind === "&" ? "role" : "user", id }];
    });
}

/** `[words](address "title")`; words that look like an address themselves would lie about where it leads. */
function maskedLink(state, silent) {
    const { src, pos, posMax } = state;
    // No link within a link: the outer one would have an end inside the other.
    if (src[pos] !== "[" || state.env.inLink) {
        return false;
    }
    const middle = known(state, "masked", pos, () => labelEnd(src, pos + 1, posMax));
    if (middle < 0 || src[middle + 1] !== "(") {
        return false;
    }
    const close = known(state, "address", middle, () => addressEnd(src, middle + 2, posMax));
    const label = src.slice(pos + 1, middle);
    if (close < 0 || !label.trim() || /https?:\/\//i.test(label)) {
        return false;
    }
    const [, address, rest] = /^<?(\S*?)>?((?:\s+"[^"\n]*")?)$/.exec(src.slice(middle + 2, close).trim()) ?? [];
    const url = address && safeUrl(address);
    if (!url || !/^https?:\/\//i.test(address)) {
        return false;
    }
    if (!silent) {
        state.push("link_open", "a", 1).meta = { url, title: TITLE.exec(rest ?? "")?.[1] };
        state.env.inLink = true;
        const max = state.posMax;
        state.pos = pos + 1;
        state.posMax = middle;
        state.md.inline.tokenize(state);
        state.posMax = max;
        state.env.inLink = false;
        state.push("link_close", "a", -1);
    }
    state.pos = close + 1;
    return true;
}

function labelEnd(src, from, max) {
    let depth = 0;
    for (let at = from; at < max; at += 1) {
        if (src[at] === "\\") {
            at += 1;
        } else if (src[at] === "[") {
            depth += 1;
        } else if (src[at] === "]" && depth === 0) {
            return at;
        } else if (src[at] === "]") {
            depth -= 1;
        }
    }
    return -1;
}

function addressEnd(src, from, max) {
    let depth = 0;
    for (let at = from; at < max && src[at] !== "\n"; at += 1) {
        if (src[at] === "(") {
            depth += 1;
        } else if (src[at] === ")" && depth === 0) {
            return at;
        } else if (src[at] === ")") {
            depth -= 1;
        }
    }
    return -1;
}

function bareLink(state, silent) {
    if (!startsLink(state.src, state.pos) || state.env.inLink) {
        return false;
    }
    const [found] = BARE.exec(state.src.slice(state.pos, state.posMax)) ?? [""];
    const text = withoutTrailing(found);
    const url = safeUrl(text);
    if (!url || text.length <= "https://".length) {
        if (!silent) {
            state.pending += state.src[state.pos];
        }
        state.pos += 1;
        return true;
    }
    if (!silent) {
        push(state, "link", { url, text });
    }
    state.pos += text.length;
    return true;
}

/** Return an address without what belongs to the sentence around it. */
function withoutTrailing(text) {
    const end = text.search(/\*\*|\|\||~~|`/);
    let kept = end < 0 ? text : text.slice(0, end);
    for (;;) {
        const last = kept.at(-1);
        const unopened = last === ")" && kept.split(")").length > kept.split("(").length;
        if (!unopened && !/[.,:;"'!?\]*_]/.test(last ?? "")) {
            return kept;
        }
        kept = kept.slice(0, -1);
    }
}

function everyone(state, silent) {
    const [found] = /^@(?:everyone|here)\b/.exec(state.src.slice(state.pos, state.pos + 9)) ?? [];
    if (!found || !state.env.everyone) {
        return false;
    }
    if (!silent) {
        push(state, "mention", { of: "everyone", id: found });
    }
    state.pos += found.length;
    return true;
}
