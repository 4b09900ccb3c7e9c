/**
 * Things to try, each of which shows one promise: choosing one goes to the place, acts as the person it is for and
 * fills in what to write. What was sent is ticked off.
 *
 * Texts come with the session: this page knows nothing of the bot.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

import { tabStorage } from "../keep.js";
import { toTyped } from "../mention_text.js";
import { ChannelType } from "../store.js";
import { icon } from "./icons.js";
import { actAs } from "./people.js";

/** How many are offered at first in an empty place, where they stand above the composer. */
const OFFERED = 6;

/** What is chosen, done and unfolded, by app: {current, done, all}. */
const progress = new WeakMap();

/** The region "Try this"; nothing without suggestions. */
export function tour(app, { brief = false } = {}) {
    const { tour: stops } = app.session;
    if (!stops.length) {
        return nothing;
    }
    const state = stateOf(app);
    const listed = brief && !state.all ? firstOf(stops, state) : stops;
    return html`<section class="tour" aria-labelledby="tour-title">
        <div class="tour-head">
            <h2 id="tour-title">Try this</h2>
            <span class="tour-count">${state.done.size} of ${stops.length} tried</span>
        </div>
        <ul class="tour-list">
            ${repeat(
                listed,
                (stop) => stop.title,
                (stop) => stopView(app, stop, state),
            )}
        </ul>
        ${listed.length < stops.length
            ? html`<button class="button" @click=${() => showAll(app, state)}>Show all ${stops.length}</button>`
            : nothing}
    </section>`;
}

/** What to do next for the chosen one, above the composer, where the list itself is not shown. */
export function tourStrip(app) {
    const { current } = stateOf(app);
    const stop = app.session.tour.find((one) => one.title === current);
    if (!stop?.steps?.length) {
        return nothing;
    }
    return html`<section class="tour-strip" aria-label=${stop.title}>
        <div class="tour-strip-text">
            <p class="tour-title">${stop.title}</p>
            ${stepsView(app, stop)}
        </div>
        <button class="icon-button" aria-label="Close ${stop.title}" @click=${() => leave(app)}>${icon("close")}</button>
    </section>`;
}

function stopView(app, stop, state) {
    const done = state.done.has(stop.title);
    const current = state.current === stop.title;
    const id = `tour-${app.session.tour.indexOf(stop)}`;
    const other = stop.person && stop.person !== app.person.name ? stop.person : null;
    return html`<li class="tour-stop ${done ? "done" : ""} ${current ? "current" : ""}">
        <button
            class="tour-button"
            aria-describedby="${id}-text ${done ? `${id}-done` : ""}"
            aria-current=${current ? "step" : nothing}
            @click=${() => choose(app, stop)}
        >
            ${stop.title}
        </button>
        ${done ? html`<span class="tour-done" id="${id}-done">${icon("check")}Tried</span>` : nothing}
        <p class="tour-text" id="${id}-text">
            ${stop.text}${other ? html` <span class="tour-person">As ${other}.</span>` : nothing}
        </p>
        ${current && stop.steps?.length ? stepsView(app, stop) : nothing}
    </li>`;
}

function stepsView(app, stop) {
    return html`<ol class="tour-steps">
        ${stop.steps.map((step) => html`<li>${typeof step === "string" ? step : step.text} ${stepButton(app, step)}</li>`)}
    </ol>`;
}

/** A step may be for somebody else: {text, person}. */
function stepButton(app, step) {
    const person = app.session.people.find((one) => one.name === step.person);
    if (!person || person.id === app.person.id) {
        return nothing;
    }
    return html`<button class="button tour-act" @click=${() => actAs(app, person)}>Act as ${person.name}</button>`;
}

function firstOf(stops, state) {
    const open = stops.filter((one) => !state.done.has(one.title) || one.title === state.current);
    return (open.length ? open : stops).slice(0, OFFERED);
}

function showAll(app, state) {
    state.all = true;
    app.update();
}

function leave(app) {
    stateOf(app).current = null;
    app.update();
    app.focusComposer();
}

async function choose(app, stop) {
    stateOf(app).current = stop.title;
    app.update();
    const person = app.session.people.find((one) => one.name === stop.person);
    if (person) {
        await actAs(app, person);
    }
    const place = [...app.store.channels.values()].find((one) => one.name === stop.place);
    if (place && place.id !== app.ui.channelId) {
        await app.open(place.id);
    }
    if (!stop.prompt) {
        markDone(app, stop);
        await showCurrent(app);
        return;
    }
    if (app.place?.type === ChannelType.FORUM) {
        Object.assign(app.ui, { newPost: { title: stop.title, text: stop.prompt, tags: [], files: [] }, drawer: null });
        app.update();
        return;
    }
    await app.fillComposer(stop.prompt);
    await showCurrent(app);
}

/** Bring the chosen one into view: its steps may have grown below the edge of the panel. */
async function showCurrent(app) {
    await app.drawNow();
    app.root.querySelector(".tour-stop.current")?.scrollIntoView({ block: "nearest" });
}

function stateOf(app) {
    if (!progress.has(app)) {
        const done = new Set(tabStorage.get(storageName(app), []));
        progress.set(app, { current: null, done, all: false });
        app.on("MESSAGE_CREATE", (message) => noteSent(app, message));
    }
    return progress.get(app);
}

/** Each run has a guild of its own: what was tried in another one is to be tried again. */
function storageName(app) {
    return `tour.${app.session.guild}`;
}

function noteSent(app, message) {
    if (message.author?.id !== app.person.id) {
        return;
    }
    const text = comparable(toTyped(app.store, message.content));
    // Words may be added to a prompt, and the suggestion was tried all the same.
    const fits = (one) => one.prompt && text.startsWith(comparable(toTyped(app.store, one.prompt)));
    const stops = app.session.tour.filter(fits);
    // Several begin with the same words: then it is the chosen one that was meant.
    const { current, done } = stateOf(app);
    const open = stops.find((one) => !done.has(one.title) && (one.person ?? app.person.name) === app.person.name);
    const stop = stops.find((one) => one.title === current) ?? open;
    if (stop) {
        markDone(app, stop);
    }
}

function comparable(text) {
    return text.trim().replace(/\s+/g, " ").toLowerCase();
}

function markDone(app, stop) {
    const { done } = stateOf(app);
    done.add(stop.title);
    tabStorage.set(storageName(app), [...done]);
    // The first message in an empty place moves the list from there into the panel.
    showCurrent(app);
}
