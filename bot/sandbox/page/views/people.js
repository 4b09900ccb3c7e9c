/** Who one is on this page: a button that names the person, and the menu to act as somebody else. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

import { avatar } from "./avatar.js";
import { icon } from "./icons.js";

const MENU = "people";

export function peopleSwitch(app) {
    const { person, ui } = app;
    const open = ui.menu === MENU;
    return html`<div class="people" data-menu=${MENU}>
        ${open ? menu(app) : nothing}
        <button
            class="people-button"
            data-menu=${MENU}
            aria-description=${person.role || nothing}
            aria-haspopup="menu"
            aria-expanded=${open}
            @click=${() => toggle(app)}
            @keydown=${(event) => openByArrow(app, event)}
        >
            ${avatar(app, person, "m")}
            <span class="people-names">
                <span class="people-name"><span class="visually-hidden">Acting as </span>${person.name}</span>
                <span class="people-role" aria-hidden="true">${person.role || "Acting as"}</span>
            </span>
            ${icon("chevron")}
        </button>
    </div>`;
}

function menu(app) {
    return html`<div class="menu people-menu" role="menu" aria-label="Act as" @keydown=${(event) => move(app, event)}>
        <p class="people-title" role="presentation">Act as</p>
        ${app.session.people.map((one) => choice(app, one))}
    </div>`;
}

function choice(app, person) {
    const current = person.id === app.person.id;
    const name = [person.name, person.role].filter(Boolean).join(", ");
    const note = `people-note-${person.id}`;
    return html`<button
        role="menuitemradio"
        aria-checked=${current}
        aria-label=${name}
        aria-describedby=${person.note ? note : nothing}
        tabindex="-1"
        @click=${() => choose(app, person)}
    >
        ${avatar(app, person, "s")}
        <span class="people-names">
            <span class="people-name">${person.name}</span>
            ${person.role ? html`<span class="people-badge">${person.role}</span>` : nothing}
            ${person.note ? html`<span class="people-note" id=${note}>${person.note}</span>` : nothing}
        </span>
        ${current ? icon("check") : nothing}
    </button>`;
}

async function toggle(app) {
    if (app.ui.menu === MENU) {
        app.closeMenu();
        return;
    }
    app.ui.menu = MENU;
    await app.drawNow();
    items(app).find((one) => one.ariaChecked === "true")?.focus();
    await refresh(app);
}

/** People may have joined since the page was loaded. */
async function refresh(app) {
    try {
        const { people } = await app.api.sandbox.get("/session");
        app.session.people = people;
        app.update();
    } catch {
        // The server is away, which the page says elsewhere; those who are known can be chosen all the same.
    }
}

function openByArrow(app, event) {
    if (app.ui.menu !== MENU && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        event.preventDefault();
        toggle(app);
    }
}

function items(app) {
    return [...app.root.querySelectorAll(".people-menu [role=menuitemradio]")];
}

/** Arrows, Home, End and first letters move; Tab leaves the menu. Escape is the page's. */
function move(app, event) {
    const all = items(app);
    const at = all.indexOf(document.activeElement);
    const targets = {
        ArrowDown: all[(at + 1) % all.length],
        ArrowUp: all.at(at < 1 ? -1 : at - 1),
        Home: all[0],
        End: all.at(-1),
    };
    const isLetter = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
    const after = [...all.slice(at + 1), ...all.slice(0, at + 1)];
    const target = isLetter
        ? after.find((one) => one.ariaLabel.toLowerCase().startsWith(event.key.toLowerCase()))
        : targets[event.key];
    if (target) {
        event.preventDefault();
        target.focus();
    } else if (event.key === "Tab") {
        app.closeMenu();
    }
}

async function choose(app, person) {
    app.closeMenu();
    await actAs(app, person);
    app.root.querySelector(".people-button")?.focus();
}

/** Act as somebody, and say so, as well as where that leads if they do not see what was open. */
export async function actAs(app, person) {
    if (person.id === app.person.id) {
        return;
    }
    const { place } = app;
    const before = place ? app.store.placeName(place) : "";
    await app.actAs(person);
    const moved = place && app.ui.channelId !== place.id;
    const who = `You act as ${person.name} now.`;
    app.toast(moved ? `${who} ${person.name} does not see ${before}.` : who);
}
