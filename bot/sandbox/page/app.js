/**
 * `App`: the page's state, one person at a time, and when it is drawn.
 *
 * Views are functions of it. They change it by its methods or by `app.ui` and ask for a drawing by `update()`; many
 * changes between two frames of the screen are one drawing.
 */

import { render } from "./vendor/lit-html/lit-html.js";

import { Api } from "./api.js";
import { Drafts } from "./drafts.js";
import { Gateway } from "./gateway.js";
import { ensureLoaded, loadAround, loadLatest } from "./history.js";
import { onInteractionEvent } from "./interactions.js";
import { browserStorage, tabStorage } from "./keep.js";
import { toTyped } from "./mention_text.js";
import { newNonce, send } from "./outbox.js";
import { Press } from "./press.js";
import { Scroller } from "./scrolling.js";
import { ChannelType, Store, TYPING_MS } from "./store.js";
import { keepOneStop } from "./views/message_list.js";
import { shell } from "./views/shell.js";
import { explain } from "./wording.js";

const TOAST_MS = 5_000;
const HIGHLIGHT_MS = 2_500;
const PHONE = "(max-width: 700px)";

/** At this width the panel with things to try fits beside the messages. */
const WIDE = "(min-width: 1100px)";

export class App {
    constructor(root, session, key) {
        this.root = root;
        this.session = session;
        this.press = new Press();
        this.scroller = new Scroller(this);
        this.ui = firstView();
        this._key = key;
        this._frame = 0;
        this._rendered = [];
        this._held = false;
        this.press.onEnd(() => this._held && this.update());
        this._handlers = new Map();
        this._touched = new Map();
        this._phone = matchMedia(PHONE);
        this._phone.addEventListener("change", () => this._noteWidth());
        this.ui.phone = this._phone.matches;
        this.setTheme(this.ui.theme);
    }

    get me() {
        return this.store.me;
    }

    /** The open channel, thread, forum or conversation. */
    get place() {
        return this.store.place(this.ui.channelId);
    }

    // -- drawing ----------------------------------------------------------------------------------------------------

    /** Draw in the next frame. */
    update() {
        this._frame ||= requestAnimationFrame(() => this._draw());
    }

    /** Draw in the next frame, and make this message anew: something in it shows what is not in the message. */
    touch(messageId) {
        this._touched.set(messageId, this.touches(messageId) + 1);
        this.update();
    }

    touches(messageId) {
        return this._touched.get(messageId) ?? 0;
    }

    /** Resolves after the next drawing. */
    rendered() {
        this.update();
        return new Promise((resolve) => this._rendered.push(resolve));
    }

    /**
     * Draw at once, so that what is made can take the focus before the next key is pressed; resolves when it is made.
     *
     * A busy machine may take its time with the next frame, and keys would go to where they went before. For the
     * handlers of events alone: a drawing cannot begin another one.
     */
    drawNow() {
        const drawn = this.rendered();
        cancelAnimationFrame(this._frame);
        this._draw();
        return drawn;
    }

    _draw() {
        this._frame = 0;
        this._held = this.press.holds;
        if (this._held) {
            return;
        }
        render(shell(this), this.root);
        this.scroller.settle();
        keepOneStop(this.root);
        this._rendered.splice(0).forEach((resolve) => resolve());
    }

    // -- people -----------------------------------------------------------------------------------------------------

    /** Act as one of `session.people` from now on; resolves when the gateway has let them in. */
    actAs(person) {
        this.gateway?.stop();
        this.keepReads();
        this.person = person;
        this.api = new Api(person.token, this._key);
        this.store = new Store({ reads: tabStorage.get(`reads.${person.id}`, {}) });
        this.drafts = new Drafts(person.id);
        this._touched.clear();
        Object.assign(this.ui, {
            personId: person.id,
            replyTo: null,
            editing: null,
            menu: null,
            alerts: [],
            inside: undefined,
        });
        this.ui.status = "connecting";
        tabStorage.set("person", person.id);
        const { store } = this;
        const arrived = new Promise((resolve) => (this._arrived = resolve));
        const onEvent = (name, data) => this._take(store, name, data);
        this.gateway = new Gateway(gatewayUrl(), person.token, onEvent, (status) => this._noteStatus(status));
        this.gateway.start();
        this.update();
        return arrived;
    }

    _noteStatus(status) {
        this.ui.status = status;
        this.update();
    }

    // -- events -----------------------------------------------------------------------------------------------------

    /** Call `handler(data)` for each dispatch of that name; returns a function that ends it. */
    on(name, handler) {
        const handlers = this._handlers.get(name) ?? new Set();
        this._handlers.set(name, handlers.add(handler));
        return () => handlers.delete(handler);
    }

    _take(store, name, data) {
        const known = onInteractionEvent(this, name, data) || store.apply(name, data);
        this._handlers.get(name)?.forEach((handler) => handler(data));
        if (name === "GUILD_CREATE") {
            this._enter();
        } else if (name === "RESUMED" && this.place && this.place.type !== ChannelType.FORUM) {
            ensureLoaded(this, this.ui.channelId);
        } else if (name === "CHANNEL_DELETE" || name === "THREAD_DELETE" || name === "GUILD_DELETE") {
            this._leaveDeleted(data);
        } else if (name === "MESSAGE_CREATE") {
            this._noteUnseen(data);
        } else if (name === "TYPING_START") {
            setTimeout(() => this.update(), TYPING_MS);
        }
        if (known) {
            this.update();
        }
    }

    /** What comes while nobody looks at the open place is new to who comes back. */
    _noteUnseen(message) {
        const open = message.channel_id === this.ui.channelId;
        if (open && (document.hidden || !this.scroller.atEnd)) {
            this.ui.newFrom ??= this.store.lastRead(message.channel_id);
        }
    }

    /** The server is there: show the place that was open, or the one of the address, or the first. */
    _enter() {
        const { channelId, messageId } = placeOfAddress();
        const wanted = [this.ui.channelId, channelId, this.session.channel].find((id) => this.store.place(id));
        const first = this.store.sidebar()[0]?.channel.id ?? this.store.dms()[0]?.id ?? null;
        if (wanted && wanted === this.ui.channelId) {
            ensureLoaded(this, wanted);
        } else {
            const place = wanted ?? first;
            // Without an address of its own, Back would not lead to it.
            history.replaceState(null, "", addressOf(place, wanted === channelId ? messageId : null));
            // What somebody has opened before the server was there stays open.
            this._show(place, wanted === channelId ? messageId : null, this.ui.drawer);
        }
        this._arrived();
    }

    _leaveDeleted(gone) {
        if (this.place || !this.ui.channelId) {
            return;
        }
        this._show(this.store.place(gone.parent_id)?.id ?? this.store.sidebar()[0]?.channel.id ?? null);
        this.toast("That place is gone, or you may no longer see it.");
    }

    // -- places -----------------------------------------------------------------------------------------------------

    /** Go to a place, and there to a message. */
    async open(channelId, messageId = null) {
        if (!this.store.place(channelId) && !(await this._fetchPlace(channelId))) {
            return;
        }
        const address = addressOf(channelId, messageId);
        if (location.hash !== address) {
            history.pushState(null, "", address);
        }
        this._show(channelId, messageId);
    }

    /** Archived threads come only when somebody asks for them. */
    async _fetchPlace(channelId) {
        try {
            this.store.putPlace(await this.api.get(`/channels/${channelId}`));
            return true;
        } catch (error) {
            this.alert(error);
            return false;
        }
    }

    /** The address changed, by Back or Forward. */
    onAddress() {
        const { channelId, messageId } = placeOfAddress();
        if (channelId && this.store?.place(channelId)) {
            this._show(channelId, messageId);
        }
    }

    _show(channelId, messageId = null, drawer = null) {
        const { ui, store } = this;
        if (ui.channelId !== channelId) {
            Object.assign(ui, { replyTo: null, editing: null, mention: null, alerts: [], newPost: false });
        }
        Object.assign(ui, { channelId, menu: null, drawer, highlight: messageId });
        ui.newFrom = store.unread(channelId).unread ? store.lastRead(channelId) : null;
        const place = store.place(channelId);
        if (place && place.type !== ChannelType.FORUM) {
            this._showMessages(channelId, messageId);
        }
        // What is typed next is a message to this place, not to the one before.
        if (ui.phone) {
            this.drawNow();
        } else {
            this.focusComposer();
        }
    }

    _showMessages(channelId, messageId) {
        if (!messageId) {
            this.scroller.toEnd();
            const conversation = this.store.conversation(channelId);
            return conversation.loaded && !conversation.atEnd
                ? loadLatest(this, channelId)
                : ensureLoaded(this, channelId);
        }
        this.scroller.toMessage(messageId);
        setTimeout(() => this._endHighlight(messageId), HIGHLIGHT_MS);
        const there = this.store.message(channelId, messageId);
        return there ? ensureLoaded(this, channelId) : loadAround(this, channelId, messageId);
    }

    _endHighlight(messageId) {
        if (this.ui.highlight === messageId) {
            this.ui.highlight = null;
            this.update();
        }
    }

    /** To the newest message of the open place. */
    jumpToPresent() {
        const conversation = this.store.conversation(this.ui.channelId);
        this.scroller.toEnd();
        if (!conversation.atEnd) {
            loadLatest(this, this.ui.channelId);
        }
        this.update();
    }

    /** The reader sees the end of the open place. */
    markRead() {
        if (!document.hidden && this.store.markRead(this.ui.channelId)) {
            this.update();
        }
    }

    /** Remember what the person has read for when they are back. */
    keepReads() {
        if (this.store?.entered) {
            tabStorage.set(`reads.${this.person.id}`, this.store.reads);
        }
    }

    /** Open the direct messages with somebody. */
    async openDirect(userId) {
        try {
            const channel = await this.api.post("/users/@me/channels", { recipient_id: userId });
            this.store.putPlace(channel);
            this.open(channel.id);
        } catch (error) {
            this.alert(error);
        }
    }

    // -- writing ----------------------------------------------------------------------------------------------------

    draft(channelId) {
        return this.drafts.of(channelId);
    }

    /** `<@1>` is shown as the name. */
    setDraft(channelId, text) {
        this.drafts.setText(channelId, toTyped(this.store, text));
        this.update();
    }

    /** Put a text into the open place's composer, or send it. */
    async fillComposer(text, { send: now = false } = {}) {
        if (now) {
            await send(this, this.ui.channelId, { content: text });
            return;
        }
        this.setDraft(this.ui.channelId, text);
        this.ui.drawer = null;
        await this.focusComposer();
    }

    clearComposer() {
        this.drafts.take(this.ui.channelId).files.forEach((one) => URL.revokeObjectURL(one.url));
        this.ui.replyTo = null;
        this.focusComposer();
    }

    async focusComposer() {
        await this.drawNow();
        const input = document.getElementById("composer-input");
        input?.focus();
        input?.setSelectionRange(input.value.length, input.value.length);
    }

    /** An id that no other message or interaction has. */
    nonce() {
        return newNonce();
    }

    /** Take a message away that only this person sees. */
    dismiss(message) {
        this.store.apply("MESSAGE_DELETE", { id: message.id, channel_id: message.channel_id });
        this.update();
    }

    // -- telling ----------------------------------------------------------------------------------------------------

    /** Show a text or what an error means, until it is closed; `action`: {label, run}. */
    alert(problem, { action = null } = {}) {
        const text = typeof problem === "string" ? problem : explain(problem);
        const others = this.ui.alerts.filter((one) => one.text !== text);
        this.ui.alerts = [...others, { id: newNonce(), text, action }].slice(-3);
        this.update();
    }

    closeAlert(id) {
        this.ui.alerts = this.ui.alerts.filter((one) => one.id !== id);
        this.update();
    }

    /** Show a text for a moment; kind "error" is an alert. */
    toast(text, kind = "info") {
        if (kind === "error" || kind?.error) {
            this.alert(text);
            return;
        }
        const toast = { id: newNonce(), text };
        this.ui.toasts = [...this.ui.toasts, toast].slice(-2);
        setTimeout(() => {
            this.ui.toasts = this.ui.toasts.filter((one) => one !== toast);
            this.update();
        }, TOAST_MS);
        this.update();
    }

    // -- looks ------------------------------------------------------------------------------------------------------

    /** "dark", "light" or "system". */
    setTheme(theme) {
        this.ui.theme = theme;
        browserStorage.set("theme", theme);
        document.documentElement.dataset.theme = theme;
        this.update();
    }

    togglePanel() {
        if (this.ui.phone) {
            this.setDrawer(this.ui.drawer === "panel" ? null : "panel");
            return;
        }
        this.ui.panel = !this.ui.panel;
        browserStorage.set("panel", this.ui.panel);
        this.update();
        if (!this.ui.panel) {
            // The button that was pressed goes with the panel.
            document.querySelector('[data-opens="panel"]').focus();
        }
    }

    /** Open the drawer of a phone, or close it; the focus goes along and comes back. */
    async setDrawer(drawer) {
        const before = this.ui.drawer;
        this.ui.drawer = drawer;
        await this.drawNow();
        const shown = drawer ?? before;
        const inside = document.querySelector(`.shell-${shown === "panel" ? "panel" : "sidebar"}`);
        const target = drawer
            ? inside?.querySelector("[aria-current=page], button, a")
            : document.querySelector(`[data-opens="${shown}"]`);
        target?.focus();
    }

    closeMenu() {
        if (this.ui.menu) {
            this.ui.menu = null;
            this.update();
        }
    }

    _noteWidth() {
        this.ui.phone = this._phone.matches;
        this.ui.drawer = null;
        this.update();
    }
}

function firstView() {
    return {
        channelId: null,
        highlight: null,
        replyTo: null,
        editing: null,
        mention: null,
        newFrom: null,
        newPost: false,
        drawer: null,
        panel: browserStorage.get("panel", matchMedia(WIDE).matches),
        phone: false,
        theme: browserStorage.get("theme", "system"),
        status: "connecting",
        menu: null,
        pointed: null,
        focused: null,
        alerts: [],
        toasts: [],
        personId: null,
    };
}

function gatewayUrl() {
    return `ws://${location.host}/gateway`;
}

function addressOf(channelId, messageId) {
    return messageId ? `#/${channelId}/${messageId}` : `#/${channelId ?? ""}`;
}

/** The address's part after "#/": channel and message. */
function placeOfAddress() {
    const [, channelId = null, messageId = null] = /^#\/(\d+)(?:\/(\d+))?$/.exec(location.hash) ?? [];
    return { channelId, messageId };
}
