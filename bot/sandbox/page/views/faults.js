/** What can be done to the bot and to its Discord, and whether the bot is connected. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

import { explain } from "../wording.js";

/** What each control is at and said last, by app and id: {busy, text, failed}. */
const results = new WeakMap();

/** The line on the bot; silent while all is well. */
export function connection(app) {
    const { connected, notice, bot } = app.session;
    const text = notice || (connected ? "" : `Waiting for ${bot.name} to connect. What you write is kept for it.`);
    return html`<div class="bot-state ${text ? "bot-state-shown" : ""}" role="status">${text}</div>`;
}

/** Keep `app.session` as the server is. */
export function followSandbox(app) {
    app.on("SANDBOX_STATE", (state) => applySandboxState(app, state));
    // What changed while this page had no session was told to nobody.
    app.on("READY", async () => {
        try {
            applySandboxState(app, await app.api.sandbox.get("/state"));
        } catch {
            // The server is away again, which the page says elsewhere; the next READY asks once more.
        }
    });
}

function applySandboxState(app, state) {
    const { session } = app;
    const positions = state.controls;
    session.connected = state.connected;
    session.notice = state.notice;
    session.controls = session.controls.map((one) => (one.id in positions ? { ...one, on: positions[one.id] } : one));
    app.update();
}

export function faults(app) {
    const { controls } = app.session;
    if (!controls.length) {
        return nothing;
    }
    const groups = [...new Set(controls.map((one) => one.group))];
    return html`<details class="faults" aria-label="Break something">
        <summary>Break something</summary>
        <p class="faults-text">Whatever you break, nothing that you wrote gets lost. Try it.</p>
        ${groups.map(
            (group) => html`<h3>${group}</h3>
                <ul class="faults-list">
                    ${repeat(
                        controls.filter((one) => one.group === group),
                        (one) => one.id,
                        (one) => controlView(app, one),
                    )}
                </ul>`,
        )}
    </details>`;
}

function controlView(app, control) {
    const result = resultsOf(app).get(control.id) ?? {};
    const help = `fault-${control.id}`;
    return html`<li class="fault">
        ${control.kind === "switch" ? switchView(app, control, help) : actionView(app, control, help, result)}
        <p class="fault-help" id=${help}>${control.help}</p>
        <p class="fault-result" role="status">${result.failed ? "" : result.text}</p>
        ${result.failed ? html`<p class="fault-result failed" role="alert">${result.text}</p>` : nothing}
    </li>`;
}

function actionView(app, control, help, result) {
    return html`<button
        class="button"
        aria-describedby=${help}
        aria-disabled=${result.busy ? "true" : nothing}
        @click=${() => run(app, control, undefined)}
    >
        ${control.label} ${result.busy ? html`<span class="spinner"></span>` : nothing}
    </button>`;
}

function switchView(app, control, help) {
    return html`<button
        class="switch"
        role="switch"
        aria-checked=${control.on}
        aria-describedby=${help}
        @click=${() => run(app, control, !control.on)}
    >
        <span>${control.label}</span><span class="switch-track" aria-hidden="true"></span>
    </button>`;
}

function resultsOf(app) {
    if (!results.has(app)) {
        results.set(app, new Map());
    }
    return results.get(app);
}

/** Do it to the place that is open; what the server answers stands below the control until it is used again. */
async function run(app, control, on) {
    const all = resultsOf(app);
    if (all.get(control.id)?.busy) {
        return;
    }
    all.set(control.id, { busy: true, text: "" });
    app.update();
    try {
        const body = { on, channel_id: app.ui.channelId };
        const { text } = await app.api.sandbox.post(`/controls/${control.id}`, body);
        all.set(control.id, { text });
        // The event says so, too; it may come later than the answer.
        if (on !== undefined) {
            app.session.controls = app.session.controls.map((one) => (one.id === control.id ? { ...one, on } : one));
        }
    } catch (error) {
        all.set(control.id, { failed: true, text: error.status === 400 ? error.message : explain(error) });
    }
    app.update();
}
