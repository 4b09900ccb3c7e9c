/** A forum's tags, as the list of posts, the form for a new post and a post's menu show them. */

import { html } from "../vendor/lit-html/lit-html.js";

/** Discord's limit for a post. */
export const MOST_TAGS = 5;

/** A tag with its emoji, if it has one. */
export function tagText(tag) {
    return tag.emoji_name ? `${tag.emoji_name} ${tag.name}` : tag.name;
}

/**
 * Return a button for each of ``tags``, pressed if its id is in ``chosen``.
 *
 * ``change`` is called with the ids that are chosen after a press; ``isClosed(tag)`` says which can't be pressed.
 */
export function tagButtons(label, tags, chosen, change, isClosed = () => false) {
    const toggled = (id) => (chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]);
    return html`<div class="tag-line" role="group" aria-label=${label}>
        ${tags.map(
            // Without a type it would send the form around it.
            (tag) => html`<button
                type="button"
                class="tag"
                aria-pressed=${chosen.includes(tag.id)}
                ?disabled=${isClosed(tag)}
                @click=${() => change(toggled(tag.id))}
            >
                ${tagText(tag)}
            </button>`,
        )}
    </div>`;
}
