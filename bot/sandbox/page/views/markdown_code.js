/** Code blocks: coloured by highlight.js, or by the ANSI colours in them; as HTML, with all text escaped. */

import hljs from "../vendor/highlight/highlight.min.js";

const LONGEST = 20_000;
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const SGR = /\u001b\[([\d;]*)m/g;
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/** Return code as HTML; in a language that is not known, it stays as it is. */
export function highlighted(code, language) {
    const name = language.toLowerCase();
    if (name === "ansi") {
        return ansi(code);
    }
    if (code.length > LONGEST || !hljs.getLanguage(name)) {
        return escaped(code);
    }
    return hljs.highlight(code, { language: name, ignoreIllegals: true }).value;
}

function escaped(text) {
    return text.replace(/[&<>"]/g, (one) => ESCAPES[one]);
}

function ansi(code) {
    let style = { bold: false, underline: false, fore: "", back: "" };
    let html = "";
    let from = 0;
    const add = (text) => {
        const classes = classesOf(style);
        if (text) {
            html += classes ? `<span class="${classes}">${escaped(text)}</span>` : escaped(text);
        }
    };
    for (const found of code.matchAll(SGR)) {
        add(code.slice(from, found.index));
        from = found.index + found[0].length;
        for (const number of found[1].split(";").map(Number)) {
            style = applied(style, number);
        }
    }
    add(code.slice(from));
    return html;
}

function classesOf({ bold, underline, fore, back }) {
    const classes = [bold && "ansi-bold", underline && "ansi-underline", fore && `ansi-${fore}`];
    return [...classes, back && `ansi-on-${back}`].filter(Boolean).join(" ");
}

function applied(style, number) {
    if (number === 0) {
        return { bold: false, underline: false, fore: "", back: "" };
    }
    if (number === 1) {
        return { ...style, bold: true };
    }
    if (number === 4) {
        return { ...style, underline: true };
    }
    if (number >= 30 && number <= 37) {
        return { ...style, fore: COLOURS[number - 30] };
    }
    if (number >= 40 && number <= 47) {
        return { ...style, back: COLOURS[number - 40] };
    }
    return style;
}
