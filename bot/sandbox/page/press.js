/**
 * What is pressed stays as it is until its click.
 *
 * A click takes two events at one place: whatever is drawn between press and release may come over what is pressed, move
 * it or replace it, and then there is no click. So the page draws nothing meanwhile, and what is being read stays put.
 */

/** What a click is meant for; fields take the focus with the press, and text can be selected while it grows. */
const PRESSABLE = "a, button, summary, label, [role=button], [role=link], [role=option], [type=checkbox], [type=radio]";

/** A press counts as over after that: browsers do not always report its end, as when their own menu opens. */
const LONGEST_PRESS_MS = 3_000;

/** A finger's click comes that long after the release at most. */
const TAP_MS = 300;

export class Press {
    constructor() {
        /** Whether drawing has to wait. */
        this.holds = false;
        this._pressed = false;
        this._ends = [];
        document.addEventListener("pointerdown", (event) => this._begin(event), true);
        document.addEventListener("pointerup", (event) => this._release(event), true);
        document.addEventListener("pointercancel", () => this._end(), true);
        // What the click does may be drawn at once: it has found its target.
        document.addEventListener("click", () => this._end(), true);
    }

    /** Call `handler()` at the end of each press. */
    onEnd(handler) {
        this._ends.push(handler);
    }

    _begin({ target, button }) {
        if (button === 0) {
            this._pressed = true;
            this.holds = target.closest(PRESSABLE) !== null;
            this._endIn(LONGEST_PRESS_MS);
        }
    }

    /** The click is dispatched after the events of the release, and not always. */
    _release({ pointerType }) {
        if (this._pressed) {
            this._endIn(pointerType === "touch" ? TAP_MS : 0);
        }
    }

    _endIn(milliseconds) {
        clearTimeout(this._limit);
        this._limit = setTimeout(() => this._end(), milliseconds);
    }

    _end() {
        clearTimeout(this._limit);
        if (this._pressed) {
            this._pressed = false;
            this.holds = false;
            this._ends.forEach((handler) => handler());
        }
    }
}
