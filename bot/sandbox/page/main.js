/** Boots the page: the key from the address, the session from the server, the first person, the first drawing. */

import { html, render } from "./vendor/lit-html/lit-html.js";

import { ApiError, Sandbox } from "./api.js";
import { App } from "./app.js";
import { tabStorage } from "./keep.js";
import { listenToKeys } from "./keyboard.js";
import { followSandbox } from "./views/faults.js";

const root = document.getElementById("app");

boot();

async function boot() {
    const key = takeKey();
    try {
        const session = await new Sandbox(key).get("/session");
        // A browser that was started with the page's address has a key for once.
        tabStorage.set("key", session.key);
        start(session);
    } catch (error) {
        if (!(error instanceof ApiError)) {
            throw error;
        }
        render(cannotStart(error), root);
    }
}

/** The key is taken out of the address, so that it is in no history, bookmark or picture of the screen. */
function takeKey() {
    const fragment = location.hash.slice(1);
    if (fragment && !fragment.startsWith("/")) {
        tabStorage.set("key", fragment);
        history.replaceState(null, "", location.pathname);
    }
    return tabStorage.get("key", "");
}

function start(session) {
    const app = new App(root, session, session.key);
    const person = session.people.find((one) => one.id === tabStorage.get("person")) ?? session.people[0];
    listenToKeys(app);
    followSandbox(app);
    globalThis.addEventListener("popstate", () => app.onAddress());
    globalThis.addEventListener("pagehide", () => app.keepReads());
    document.addEventListener("visibilitychange", () => app.update());
    app.actAs(person);
}

function cannotStart(error) {
    const lost = error.status === 0;
    const title = lost ? "The server does not answer" : "This page needs its key";
    const text = lost
        ? "Is it still running in the terminal? Start it, then open the address that it prints."
        : "Open the address that the terminal prints: it ends with the key of this run.";
    return html`<main class="cannot-start" role="alert">
        <h1>${title}</h1>
        <p>${text}</p>
        <button class="button button-primary" @click=${() => location.reload()}>Try again</button>
    </main>`;
}
