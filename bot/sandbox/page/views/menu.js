/** A button with a menu of actions below it, by the keys of the menu button pattern. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { icon } from "./icons.js";

/**
 * `items`: templates from `menuItem`, or any other content; the menu is open while `ui.menu` is its id. `opened` is
 * called when it opens.
 */
export function menuButton(app, { id, label, picture, items, opened = null }) {
    const open = app.ui.menu === id;
    const toggle = async () => {
        app.ui.menu = open ? null : id;
        if (!open) {
            opened?.();
            await app.drawNow();
            focusItem(document.getElementById(`menu-${id}`), 0);
        } else {
            app.update();
        }
    };
    return html`<div class="menu-holder" data-menu=${id}>
        <button
            class="icon-button"
            data-menu=${id}
            aria-label=${label}
            title=${label}
            aria-haspopup="menu"
            aria-expanded=${open}
            @click=${toggle}
        >
            ${icon(picture)}
        </button>
        ${
            open
                ? html`<div class="menu" id="menu-${id}" role="menu" aria-label=${label} @keydown=${(event) => onMenuKey(app, event)}>
                  ${items()}
              </div>`
                : nothing
        }
    </div>`;
}

export function menuItem(app, label, picture, run, { danger = false } = {}) {
    const choose = (event) => {
        app.ui.menu = null;
        app.update();
        // The item is about to go; a dialog that it opens gives the focus back to where it was.
        event.currentTarget.closest(".menu-holder").querySelector("button").focus();
        run();
        app.drawNow();
    };
    return html`<button role="menuitem" tabindex="-1" class=${danger ? "danger" : ""} @click=${choose}>
        ${picture ? icon(picture) : nothing}<span>${label}</span>
    </button>`;
}

/** Arrows, Home and End move; Tab leaves the menu. Escape is the page's. */
function onMenuKey(app, event) {
    if (event.key === "Tab") {
        app.closeMenu();
        return;
    }
    const items = [...event.currentTarget.querySelectorAll("[role^=menuitem]")];
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) {
        event.preventDefault();
        focusItem(event.currentTarget, (to + items.length) % items.length);
    }
}

function focusItem(menu, index) {
    menu?.querySelectorAll("[role^=menuitem]")[index]?.focus();
}
