/**
 * Things that float above the page: lists below a field, the emoji picker, dialogs.
 *
 * All are in the browser's top layer, so that no scrolling box cuts them off, and stay where they belong in the
 * document, so that they work within a dialog, beside which everything else is inert.
 */

const GAP = 4;
const EDGE = 8;

/**
 * A `ref` for an element with `popover="manual"`: shows it by the element before it, below or else above.
 *
 * It stays the same function for all, or lit would call it at each render.
 */
export function floating(element) {
    afterDrawing(element, float);
}

function float(element) {
    if (element.matches(":popover-open")) {
        return;
    }
    element.showPopover();
    place(element, element.previousElementSibling);
    // Its anchor moves away with a scroll; the list itself may scroll.
    const follow = (event) => {
        if (!element.isConnected) {
            document.removeEventListener("scroll", follow, true);
        } else if (!element.contains(event.target)) {
            place(element, element.previousElementSibling);
        }
    };
    document.addEventListener("scroll", follow, { capture: true, passive: true });
}

function place(element, anchor) {
    const box = anchor.getBoundingClientRect();
    const { style } = element;
    if (element.classList.contains("as-wide")) {
        style.width = `${box.width}px`;
    }
    const below = innerHeight - box.bottom - GAP - EDGE;
    const above = box.top - GAP - EDGE;
    const upwards = below < Math.min(element.scrollHeight, 320) && above > below;
    style.maxHeight = `${Math.max(120, Math.min(360, upwards ? above : below))}px`;
    const left = element.classList.contains("at-end") ? box.right - element.offsetWidth : box.left;
    style.left = `${Math.max(EDGE, Math.min(left, innerWidth - element.offsetWidth - EDGE))}px`;
    style.top = upwards ? `${box.top - GAP - element.offsetHeight}px` : `${box.bottom + GAP}px`;
}

let opener = null;

/** A `ref` for a `<dialog>`: opens it as a modal with the focus on its first field, and gives the focus back. */
export function modal(element) {
    if (!element) {
        // A dialog that is taken out of the document does not do it itself; all else is inert until it is out.
        afterDrawing(opener, (one) => one.focus());
    }
    afterDrawing(element, (dialog) => {
        if (dialog.open) {
            return;
        }
        opener = document.activeElement;
        dialog.showModal();
        dialog.querySelector("[data-first], input, textarea, [role=combobox]")?.focus();
    });
}

/** A `ref` that keeps the chosen line of a list in sight. */
export function inSight(element) {
    afterDrawing(element, (line) => line.scrollIntoView({ block: "nearest" }));
}

/** lit hands an element over before it is in the document, and nothing once it is gone. */
function afterDrawing(element, act) {
    if (element) {
        queueMicrotask(() => element.isConnected && act(element));
    }
}
