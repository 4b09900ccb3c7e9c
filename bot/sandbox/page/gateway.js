/**
 * The gateway as a client speaks it: hello, heartbeat, identify, resume, and coming back after a loss.
 *
 * The mutable state is the connection and the session to resume. What an event means is for whoever gets it.
 */

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
const NEW_SESSION_WAIT_MS = 1_000;

/** Any code but 1000 and 1001 keeps the session on the server, so that it can be resumed. */
const CLOSE_TO_RESUME = 4000;
const REFUSED_CODES = new Set([4004, 4010, 4011, 4012, 4013, 4014]);
const SESSION_LOST_CODES = new Set([4003, 4007, 4009]);

const Op = Object.freeze({
    DISPATCH: 0,
    HEARTBEAT: 1,
    IDENTIFY: 2,
    RESUME: 6,
    RECONNECT: 7,
    INVALID_SESSION: 9,
    HELLO: 10,
    HEARTBEAT_ACK: 11,
});

/** The intents that a bot would name; a person's session gets what the person may see. */
const ALL_INTENTS = 0x1ffff;

/**
 * One person's gateway session, over as many connections as it takes.
 *
 * `onEvent(name, data)` gets the dispatches in order; `onStatus` gets "connecting", "ready" or "refused".
 */
export class Gateway {
    constructor(url, token, onEvent, onStatus) {
        this.sessionId = null;
        this._url = url;
        this._token = token;
        this._onEvent = onEvent;
        this._onStatus = onStatus;
        this._sequence = null;
        this._socket = null;
        this._beatTimer = 0;
        this._retryTimer = 0;
        this._acknowledged = true;
        this._failures = 0;
        this._stopped = false;
        this._hurry = () => this._retryNow();
    }

    start() {
        globalThis.addEventListener("online", this._hurry);
        document.addEventListener("visibilitychange", this._hurry);
        this._connect();
    }

    /** End for good; nothing is called any more. */
    stop() {
        this._stopped = true;
        globalThis.removeEventListener("online", this._hurry);
        document.removeEventListener("visibilitychange", this._hurry);
        clearTimeout(this._retryTimer);
        this._drop(1000);
    }

    _connect() {
        clearTimeout(this._retryTimer);
        this._retryTimer = 0;
        this._onStatus("connecting");
        const socket = new WebSocket(`${this._url}/?v=10&encoding=json`);
        this._socket = socket;
        // What a dropped socket still says belongs to no session of ours.
        socket.onmessage = (event) => socket === this._socket && this._receive(JSON.parse(event.data));
        socket.onclose = (event) => socket === this._socket && this._lost(event.code);
    }

    _drop(code) {
        const socket = this._socket;
        this._socket = null;
        clearTimeout(this._beatTimer);
        socket?.close(code);
    }

    _lost(code) {
        this._drop(CLOSE_TO_RESUME);
        if (this._stopped) {
            return;
        }
        if (REFUSED_CODES.has(code)) {
            this._onStatus("refused");
            return;
        }
        if (SESSION_LOST_CODES.has(code)) {
            this._forgetSession();
        }
        this._failures += 1;
        this._retryIn(Math.min(FIRST_RETRY_MS * 2 ** (this._failures - 1), LONGEST_RETRY_MS));
    }

    _retryIn(milliseconds) {
        this._onStatus("connecting");
        clearTimeout(this._retryTimer);
        // Pages that lost one server at the same moment do not all come back at the same moment.
        this._retryTimer = setTimeout(() => this._connect(), milliseconds * (0.75 + Math.random() / 2));
    }

    _retryNow() {
        if (this._retryTimer && !document.hidden) {
            this._connect();
        }
    }

    _forgetSession() {
        this.sessionId = null;
        this._sequence = null;
    }

    _receive(frame) {
        if (frame.s !== null && frame.s !== undefined) {
            this._sequence = frame.s;
        }
        switch (frame.op) {
            case Op.HELLO:
                this._greet(frame.d.heartbeat_interval);
                break;
            case Op.HEARTBEAT:
                this._send(Op.HEARTBEAT, this._sequence);
                break;
            case Op.HEARTBEAT_ACK:
                this._acknowledged = true;
                break;
            case Op.RECONNECT:
                this._drop(CLOSE_TO_RESUME);
                this._connect();
                break;
            case Op.INVALID_SESSION:
                this._invalid(frame.d === true);
                break;
            case Op.DISPATCH:
                this._dispatch(frame.t, frame.d);
                break;
        }
    }

    _greet(intervalMs) {
        this._acknowledged = true;
        this._beatIn(intervalMs * Math.random(), intervalMs);
        if (this.sessionId) {
            this._send(Op.RESUME, { token: this._token, session_id: this.sessionId, seq: this._sequence });
        } else {
            const properties = { os: "web", browser: "sandbox", device: "" };
            this._send(Op.IDENTIFY, { token: this._token, intents: ALL_INTENTS, properties });
        }
    }

    _beatIn(milliseconds, intervalMs) {
        clearTimeout(this._beatTimer);
        this._beatTimer = setTimeout(() => {
            if (!this._acknowledged) {
                // A connection that answers no heartbeat is dead, however open it looks.
                this._lost(CLOSE_TO_RESUME);
                return;
            }
            this._acknowledged = false;
            this._send(Op.HEARTBEAT, this._sequence);
            this._beatIn(intervalMs, intervalMs);
        }, milliseconds);
    }

    _invalid(resumable) {
        if (!resumable) {
            this._forgetSession();
        }
        this._drop(CLOSE_TO_RESUME);
        this._retryIn(NEW_SESSION_WAIT_MS);
    }

    _dispatch(name, data) {
        if (name === "READY") {
            this.sessionId = data.session_id;
        }
        if (name === "READY" || name === "RESUMED") {
            this._failures = 0;
            this._onStatus("ready");
        }
        this._onEvent(name, data);
    }

    _send(op, data) {
        if (this._socket?.readyState === WebSocket.OPEN) {
            this._socket.send(JSON.stringify({ op, d: data }));
        }
    }
}
