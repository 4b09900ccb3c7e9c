/** What a person does in rendered Markdown: shows spoilers, follows mentions and links to messages, copies code. */

import { startCommand } from "./commands.js";
import { copy } from "./copying.js";

/** Act on a click, or on Enter and Space, in rendered Markdown: spoilers, mentions, links to messages, copying code. */
export function onMarkdownEvent(app, event) {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") {
        return;
    }
    const spoiler = event.target.closest(".spoiler:not(.revealed)");
    if (spoiler) {
        // The first press only shows: a link in it must not open before anybody has seen it.
        event.preventDefault();
        reveal(spoiler);
        return;
    }
    const acted = event.target.closest("[data-channel], [data-command], .copy-code");
    if (!acted) {
        return;
    }
    if (acted.matches(".copy-code") && event.type === "keydown") {
        return;
    } // a button presses itself
    event.preventDefault();
    if (acted.matches(".copy-code")) {
        copy(app, acted.parentElement.querySelector("code").textContent);
    } else if (acted.dataset.channel) {
        app.open(acted.dataset.channel, acted.dataset.message);
    } else {
        startCommand(app, acted.dataset.command);
    }
}

function reveal(spoiler) {
    spoiler.classList.add("revealed");
    for (const name of ["role", "tabindex", "aria-label"]) {
        spoiler.removeAttribute(name);
    }
}
