/**
 * Mentions as people type and read them (@Weft, #general) and as the wire has them (<@1>, <#2>). Pure.
 *
 * Names may have spaces, so the longest name that fits is the one that is meant. Code stays as it is.
 */

const CODE = /(```[\s\S]*?(?:```|$)|`[^`\n]*`)/;
const WIRE = /<(@!?|@&|#)(\d+)>/g;

/** The text for the wire. */
export function toWire(store, text) {
    const names = [...wireNames(store)].sort((a, b) => b[0].length - a[0].length);
    if (!names.length) {
        return text;
    }
    const byName = new Map(names.toReversed().map(([name, wire]) => [name.toLowerCase(), wire]));
    const anyName = new RegExp(`(?<![\\w<])(${names.map(([name]) => escaped(name)).join("|")})(?![\\w])`, "gi");
    const replaced = (part) => part.replace(anyName, (name) => byName.get(name.toLowerCase()));
    // Splitting by a group keeps the code at the odd places.
    return text
        .split(CODE)
        .map((part, index) => (index % 2 ? part : replaced(part)))
        .join("");
}

/** The text for a textarea; ids that nobody knows stay. */
export function toTyped(store, content) {
    return content.replace(WIRE, (whole, kind, id) => {
        if (kind === "#") {
            const place = store.place(id);
            return place ? `#${place.name}` : whole;
        }
        if (kind === "@&") {
            const role = store.roles.get(id);
            return role ? `@${role.name}` : whole;
        }
        return store.user(id) ? `@${store.displayName(id)}` : whole;
    });
}

function* wireNames(store) {
    for (const id of store.members.keys()) {
        yield [`@${store.displayName(id)}`, `<@${id}>`];
    }
    for (const role of store.roles.values()) {
        if (role.id !== store.guild?.id) {
            yield [`@${role.name}`, `<@&${role.id}>`];
        }
    }
    for (const place of [...store.channels.values(), ...store.threads.values()]) {
        if (place.name) {
            yield [`#${place.name}`, `<#${place.id}>`];
        }
    }
}

function escaped(text) {
    return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
