/**
 * Discord's blocks: code, quotes, headings, small print, lists, and text between them in which every newline counts.
 *
 * It takes the place of markdown-it's own block parser, whose paragraphs, lazy lines and indented code people do not
 * know from Discord. The text is walked from front to back; what is in a quote or an item is walked as its own text.
 */

const FENCE = "```";
const HEADING = /^(#{1,3}) +(\S.*)$/;
const SMALL = /^-# +(\S.*)$/;
const ITEM = /^( *)([*-]|\d{1,9}\.) +(\S.*)$/;
const LANGUAGE = /^[\w+\-.#]{1,30}$/;
const DEEPEST = 10;

/** Replace the block rules of a markdown-it by those of Discord. */
export function addBlockRules(md) {
    md.core.ruler.at("block", (state) => {
        blocks(state, state.src, { depth: 0, quoted: false });
    });
}

/** Add the tokens of a text. */
function blocks(state, text, inside) {
    const walk = { state, inside, text, at: 0, plain: 0 };
    while (walk.at < text.length) {
        const end = text.indexOf("\n", walk.at);
        const line = text.slice(walk.at, end < 0 ? text.length : end);
        if (!block(walk, line)) {
            walk.at += skipped(walk, line);
        }
    }
    flush(walk, text.length);
}

/** Return how far the text goes that is none of the blocks: the line, or what is before a fence in it. */
function skipped(walk, line) {
    const fence = line.indexOf(FENCE);
    if (fence > 0 && !isEscaped(line, fence) && openFence(walk.text, walk.at + fence)) {
        return fence;
    }
    return line.length + 1;
}

function isEscaped(line, at) {
    let slashes = 0;
    while (line[at - 1 - slashes] === "\\") {
        slashes += 1;
    }
    return slashes % 2 === 1 || line[at + FENCE.length] === "`" || line[at - 1] === "`";
}

function block(walk, line) {
    const begins = walk.at === 0 || walk.text[walk.at - 1] === "\n";
    if (line.startsWith(FENCE)) {
        return code(walk);
    }
    if (!begins) {
        return false;
    }
    if (/^>(?:>>)? /.test(line) && !walk.inside.quoted) {
        return quote(walk, line);
    }
    const heading = HEADING.exec(line);
    if (heading) {
        return single(walk, line, "heading", `h${heading[1].length + 1}`, heading[2]);
    }
    const small = SMALL.exec(line);
    if (small) {
        return single(walk, line, "small", "small", small[1]);
    }
    return ITEM.test(line) && walk.inside.depth < DEEPEST ? list(walk) : false;
}

/** Add the text that stood before a block as a paragraph; the newline in front of a block belongs to the block. */
function flush(walk, upTo) {
    const text = walk.text.slice(walk.plain, upTo).replace(/\n$/, "");
    if (text.trim()) {
        inline(walk.state, "paragraph", "p", text);
    }
}

/** Go on behind a block that ends at `end`. */
function past(walk, end) {
    walk.at = end + (walk.text[end] === "\n" ? 1 : 0);
    walk.plain = walk.at;
    return true;
}

function inline(state, type, tag, text) {
    add(state, `${type}_open`, tag, 1);
    Object.assign(add(state, "inline", "", 0), { content: text, children: [] });
    add(state, `${type}_close`, tag, -1);
}

function add(state, type, tag, nesting) {
    const token = new state.Token(type, tag, nesting);
    state.tokens.push(token);
    return token;
}

function single(walk, line, type, tag, text) {
    flush(walk, walk.at);
    inline(walk.state, type, tag, text);
    return past(walk, walk.at + line.length);
}

/** Return a fence's language, content and end; null: it does not end, and is text. */
function openFence(text, at) {
    const close = text.indexOf(FENCE, at + FENCE.length);
    if (close < 0) {
        return null;
    }
    let end = close + FENCE.length;
    while (text[end] === "`") {
        end += 1;
    }
    const inner = text.slice(at + FENCE.length, end - FENCE.length);
    if (!inner.trim()) {
        return null;
    }
    const first = inner.indexOf("\n");
    const named = first > 0 && LANGUAGE.test(inner.slice(0, first));
    const content = named ? inner.slice(first + 1) : inner;
    return { language: named ? inner.slice(0, first) : "", content: content.replace(/^\n+|\n+$/g, ""), end };
}

function code(walk) {
    const found = openFence(walk.text, walk.at);
    if (!found) {
        return false;
    }
    flush(walk, walk.at);
    const token = add(walk.state, "fence", "code", 0);
    token.info = found.language;
    token.content = found.content;
    return past(walk, found.end);
}

function quote(walk, line) {
    flush(walk, walk.at);
    let end = walk.text.length;
    let inner = walk.text.slice(walk.at + 4);
    if (!line.startsWith(">>> ")) {
        const taken = [];
        end = walk.at;
        for (const one of walk.text.slice(walk.at).split("\n")) {
            // An empty line of a quotation keeps it together, with or without the space that editors strip.
            if (!one.startsWith("> ") && one !== ">") {
                break;
            }
            taken.push(one.slice(2));
            end += one.length + 1;
        }
        end -= 1;
        inner = taken.join("\n");
    }
    add(walk.state, "blockquote_open", "blockquote", 1);
    blocks(walk.state, inner, { ...walk.inside, quoted: true });
    add(walk.state, "blockquote_close", "blockquote", -1);
    return past(walk, end);
}

function indentOf(line) {
    return /^ */.exec(line)[0].length;
}

/** Return the items at the front of the lines: each with its indent, its number and its own lines. */
function itemsOf(lines) {
    const items = [];
    let fenced = false;
    for (const line of lines) {
        const item = fenced ? null : ITEM.exec(line);
        const last = items.at(-1);
        if (item) {
            const number = item[2].length > 1 || /\d/.test(item[2]) ? Number.parseInt(item[2], 10) : null;
            items.push({ indent: item[1].length, column: line.length - item[3].length, number, lines: [item[3]] });
        } else if (fenced || (line.trim() && indentOf(line) > items[0].indent)) {
            last.lines.push(line.slice(Math.min(last.column, indentOf(line))));
        } else {
            break;
        }
        // A fence in an item holds lines that look like items.
        const fences = (items.at(-1).lines.at(-1).match(/```/g) ?? []).length;
        fenced = fences % 2 ? !fenced : fenced;
    }
    return items;
}

function list(walk) {
    const lines = walk.text.slice(walk.at).split("\n");
    const items = itemsOf(lines);
    const taken = items.reduce((count, item) => count + item.lines.length, 0);
    flush(walk, walk.at);
    nest(walk, items, 0);
    return past(walk, walk.at + lines.slice(0, taken).join("\n").length);
}

/** Add items as lists within lists, by their indents. */
function nest(walk, items, depth) {
    for (let at = 0; at < items.length;) {
        const { indent, number } = items[at];
        const ordered = number !== null;
        const tag = ordered ? "ol" : "ul";
        const open = add(walk.state, "list_open", tag, 1);
        if (ordered) {
            open.attrSet("start", String(number));
        }
        while (at < items.length && items[at].indent <= indent + 1 && (items[at].number !== null) === ordered) {
            let next = at + 1;
            while (next < items.length && items[next].indent > items[at].indent + 1) {
                next += 1;
            }
            add(walk.state, "list_item_open", "li", 1);
            blocks(walk.state, items[at].lines.join("\n"), { ...walk.inside, depth: DEEPEST });
            if (depth < DEEPEST) {
                nest(walk, items.slice(at + 1, next), depth + 1);
            }
            add(walk.state, "list_item_close", "li", -1);
            at = depth < DEEPEST ? next : at + 1;
        }
        add(walk.state, "list_close", tag, -1);
    }
}
