/** The page's icons, drawn for it: 20 x 20, lines in the colour of the text, hidden from screen readers. */

import { html, svg } from "../vendor/lit-html/lit-html.js";

const SHAPES = {
    at: svg`<circle cx="10" cy="10" r="3" /><path d="M13 7v4a2 2 0 0 0 4 0v-1a7 7 0 1 0-3 5.7" />`,
    bot: svg`<rect x="4" y="7" width="12" height="9" rx="2" /><path d="M10 7V4M8 11v1M12 11v1" />`,
    check: svg`<path d="m4 10.5 4 4 8-9" />`,
    chevron: svg`<path d="m5 8 5 5 5-5" />`,
    clock: svg`<circle cx="10" cy="10" r="7" /><path d="M10 6v4l3 2" />`,
    close: svg`<path d="m5 5 10 10M15 5 5 15" />`,
    copy: svg`<rect x="7" y="7" width="9" height="9" rx="2" /><path d="M13 7V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v5a2 2 0 0 0 2 2h1" />`,
    download: svg`<path d="M10 3v9m-4-4 4 4 4-4M4 16h12" />`,
    edit: svg`<path d="m4 16 .8-3.6L13 4.2a1.4 1.4 0 0 1 2 0l.8.8a1.4 1.4 0 0 1 0 2L7.6 15.2z" />`,
    eye: svg`<path d="M2.5 10S5 5 10 5s7.5 5 7.5 5-2.5 5-7.5 5-7.5-5-7.5-5z" /><circle cx="10" cy="10" r="2" />`,
    file: svg`<path d="M11 3H6a1.5 1.5 0 0 0-1.5 1.500v11A1.5 1.5 0 0 0 6 17h8a1.5 1.5 0 0 0 1.5-1.500V7.500zM11 3v4.500h4.5" />`,
    forum: svg`<path d="M4 4h9v7H8l-3 2.500V11H4z" /><path d="M15.5 7.500H17v7h-1v2.500L13 14.500H9.5" />`,
    forward: svg`<path d="m12 5 5 4.5-5 4.500v-3c-4 0-6.5 1-9 4 .5-4.5 3.5-7.5 9-7.500z" />`,
    hash: svg`<path d="M8 3 6.5 17M13.5 3 12 17M4 7.500h13M3 12.500h13" />`,
    jump: svg`<path d="M10 4v11m-5-5 5 5 5-5" />`,
    link: svg`<path d="M8.5 11.500a3 3 0 0 0 4.5 0l2.5-2.500a3 3 0 0 0-4.3-4.300L10 6M11.5 8.500a3 3 0 0 0-4.5 0L4.5 11a3 3 0 0 0 4.3 4.300L10 14" />`,
    lock: svg`<rect x="5" y="9" width="10" height="7.5" rx="1.5" /><path d="M7 9V6.500a3 3 0 0 1 6 0V9" />`,
    menu: svg`<path d="M3 5.500h14M3 10h14M3 14.500h14" />`,
    moon: svg`<path d="M16 12.500A6.5 6.5 0 0 1 8 4a6.5 6.5 0 1 0 8 8.500z" />`,
    more: svg`<circle cx="4.5" cy="10" r="1.2" /><circle cx="10" cy="10" r="1.2" /><circle cx="15.5" cy="10" r="1.2" />`,
    panel: svg`<rect x="3" y="4" width="14" height="12" rx="2" /><path d="M12 4v12" />`,
    plus: svg`<path d="M10 4v12M4 10h12" />`,
    refresh: svg`<path d="M16 10a6 6 0 1 1-2-4.500M14.5 2.500v3.300h-3.3" />`,
    reply: svg`<path d="M8 5 3 9.5 8 14v-3c4 0 6.5 1 9 4-.5-4.5-3.5-7.5-9-7.500z" />`,
    search: svg`<circle cx="9" cy="9" r="5" /><path d="m13 13 4 4" />`,
    send: svg`<path d="M3.5 4 17 10 3.5 16l2-6zM5.5 10H11" />`,
    smile: svg`<circle cx="10" cy="10" r="7" /><path d="M7 11.500c1.5 2.3 4.5 2.3 6 0M7.7 8v.5M12.3 8v.5" />`,
    sun: svg`<circle cx="10" cy="10" r="3.2" /><path d="M10 2.500v2M10 15.500v2M2.5 10h2M15.5 10h2M4.7 4.700l1.4 1.400M13.9 13.900l1.4 1.400M4.7 15.300l1.4-1.400M13.9 6.100l1.4-1.4" />`,
    thread: svg`<path d="M4 3v6.500A3.5 3.5 0 0 0 7.5 13H9M9 9.500h8v7H9zM4 6h5" />`,
    trash: svg`<path d="M4 6h12M8 6V4h4v2M6 6l.7 10h6.600L14 6M8.5 9v4.500M11.5 9v4.5" />`,
    warning: svg`<path d="M10 3.5 17.5 16h-15zM10 8.500v3.500M10 14v.3" />`,
    wand: svg`<path d="m4 16 8-8M11 5l.8-2 .8 2 2 .8-2 .8-.8 2-.8-2-2-.8zM15.5 11l.5-1.3.5 1.3 1.3.5-1.3.5-.5 1.3-.5-1.3-1.3-.5z" />`,
};

/** One of the shapes by name. */
export function icon(name) {
    return html`<svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">${SHAPES[name]}</svg>`;
}
