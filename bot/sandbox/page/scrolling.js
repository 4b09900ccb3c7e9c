/**
 * Where the messages are scrolled to, and keeping it there while they change.
 *
 * At the end the newest stays in sight. Anywhere else the message that is being read stays where it is, whatever is
 * added above, taken away or grows. What is pressed stays under the pointer until it is let go: a press that begins on a
 * button and ends beside it is no click. The browser's own anchoring is off: not every browser has it, and two would
 * move twice. Near an end of the window the next page is asked for.
 */

import { loadNewer, loadOlder } from "./history.js";

/** So close to the end counts as being there. */
const NEAR_END_PX = 24;

/** A page is fetched when less than so many screens are left. */
const SCREENS_AHEAD = 1.5;

export class Scroller {
    constructor(app) {
        this._app = app;
        this._element = null;
        this._atEnd = true;
        this._target = null;
        this._anchor = null;
        this._pressed = null;
        this._top = 0;
        /** How far one could scroll when the end was last reached; null: scroll there at the next drawing. */
        this._end = null;
        /** Whether the end was asked for, and nothing was shown since. */
        this._opened = true;
        this._resizes = new ResizeObserver(() => this.settle());
        this._onScroll = () => this._scrolled();
        this._onPress = (event) => this._press(event);
        app.press.onEnd(() => this._release());
    }

    /** For the `ref` of the scrolling element; called with undefined when it goes. */
    attach(element) {
        if (element === this._element) {
            return;
        }
        this._resizes.disconnect();
        this._element?.removeEventListener("scroll", this._onScroll);
        this._element?.removeEventListener("pointerdown", this._onPress);
        this._element = element;
        this._top = 0;
        this._end = null;
        if (element) {
            element.addEventListener("scroll", this._onScroll, { passive: true });
            element.addEventListener("pointerdown", this._onPress);
            this._resizes.observe(element);
            this._resizes.observe(element.firstElementChild, { box: "border-box" });
        }
    }

    /** Whether the reader sees the end of the window, and stays there. */
    get atEnd() {
        return this._atEnd;
    }

    /** The message that stays where it is. */
    get anchorId() {
        return this._anchor?.id ?? null;
    }

    toEnd() {
        this._target = null;
        this._end = null;
        this._opened = true;
        this._follow(true);
    }

    /** Show a message in the middle as soon as it is there. */
    toMessage(id) {
        this._target = id;
        this._follow(false);
    }

    scrollBy(screens) {
        this._element?.scrollBy({ top: screens * this._element.clientHeight });
    }

    _follow(following) {
        this._atEnd = following;
        this._conversation.follow(following);
    }

    get _conversation() {
        return this._app.store.conversation(this._app.ui.channelId);
    }

    _scrolled() {
        if (!this._app.place) {
            return;
        }
        const element = this._element;
        const { scrollTop: top } = element;
        const left = element.scrollHeight - top - element.clientHeight;
        const before = this._atEnd;
        // Content that grew below moves the end away without the reader; only upwards is theirs.
        if (top < this._top - 1 && left > 2) {
            this._follow(false);
        } else if (left <= NEAR_END_PX) {
            this._follow(true);
            this._end = this._furthest;
        }
        this._top = top;
        this._movePressed();
        this._anchor = this._findAnchor();
        this._askForMore();
        if (before !== this._atEnd) {
            this._app.update();
        }
    }

    /** After a drawing or a change of sizes: put what is being read back to where it was. */
    settle() {
        const element = this._element;
        if (!element?.isConnected || !this._app.place) {
            return;
        }
        if (this._pressed?.element.isConnected) {
            element.scrollTop += topOf(this._pressed.element) - this._pressed.top;
            this._pressed.scrolled = element.scrollTop;
            this._end = null;
        } else if (this._target) {
            this._showTarget();
        } else if (this._atEnd) {
            this._showEnd();
        } else {
            this._restoreAnchor();
        }
        this._top = element.scrollTop;
        this._anchor = this._findAnchor();
        this._askForMore();
        if (this._atEnd && this._conversation.atEnd) {
            this._app.markRead();
        }
    }

    _showTarget() {
        const entry = this._entry(this._target);
        if (entry) {
            entry.scrollIntoView({ block: "center" });
            this._target = null;
        }
    }

    /** Moves only once the end has: coming close to it must not shift what somebody is about to press. */
    _showEnd() {
        if (this._furthest === this._end) {
            return;
        }
        this._end = this._furthest;
        if (this._conversation.messages.length) {
            this._element.scrollTop = this._end;
        } else if (this._opened) {
            // What an empty place offers is read from its beginning, and unfolds below what is pressed.
            this._element.scrollTop = 0;
            this._opened = false;
        }
    }

    get _furthest() {
        return this._element.scrollHeight - this._element.clientHeight;
    }

    _press({ target, button }) {
        // Not every browser reports the end of a press on the scroll bar.
        if (button === 0 && target !== this._element) {
            this._pressed = { element: target, top: topOf(target), scrolled: this._element.scrollTop };
        }
    }

    /**
     * What is pressed goes along with the reader's scrolling. That is told late, so it counts from where the press began,
     * and where the element is now may be the work of a change that has not settled yet.
     */
    _movePressed() {
        if (this._pressed) {
            this._pressed.top -= this._top - this._pressed.scrolled;
            this._pressed.scrolled = this._top;
        }
    }

    _release() {
        if (this._pressed) {
            this._pressed = null;
            this.settle();
        }
    }

    _restoreAnchor() {
        const entry = this._anchor && this._entry(this._anchor.id);
        if (entry) {
            this._element.scrollTop += this._offset(entry) - this._anchor.offset;
        }
    }

    _entry(id) {
        return this._element.querySelector(`[data-entry="${CSS.escape(id)}"]`);
    }

    _offset(entry) {
        return topOf(entry) - topOf(this._element);
    }

    /** The first message that is not above the visible part, by halving. */
    _findAnchor() {
        const items = this._element.querySelector("[role=log]").children;
        const edge = topOf(this._element);
        let low = 0;
        let high = items.length;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (items[middle].getBoundingClientRect().bottom > edge) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        // A line between two days is no anchor: it may go when the message above it is loaded.
        const entry = items[low]?.dataset.entry ? items[low] : items[low + 1];
        return entry ? { id: entry.dataset.entry, offset: this._offset(entry) } : null;
    }

    _askForMore() {
        const { scrollTop: top, scrollHeight, clientHeight } = this._element;
        const conversation = this._conversation;
        if (!conversation.loaded || conversation.loading || conversation.error) {
            return;
        }
        const ahead = SCREENS_AHEAD * clientHeight;
        if (!conversation.atStart && top < ahead) {
            loadOlder(this._app, conversation.channelId);
        } else if (!conversation.atEnd && scrollHeight - top - clientHeight < ahead) {
            loadNewer(this._app, conversation.channelId);
        }
    }
}

function topOf(element) {
    return element.getBoundingClientRect().top;
}
