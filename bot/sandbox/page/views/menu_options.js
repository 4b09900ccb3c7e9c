/** What a menu offers: its own options, or the people, roles and places that the person sees. */

/** Component type -> what its values are. */
export const SELECT_KINDS = { 3: "string", 5: "user", 6: "role", 7: "mentionable", 8: "channel" };

const CATEGORY = 4;

/** Return what can be chosen in a menu: its own options, or the people, roles or places that the person sees. */
export function optionsOf(app, select) {
    const kind = SELECT_KINDS[select.type];
    if (kind === "string") {
        return select.options ?? [];
    }
    const preset = new Set((select.default_values ?? []).map((one) => one.id));
    const { store } = app;
    const people = () => [...store.members.keys()].map((id) => ({ value: id, label: store.displayName(id) }));
    const roles = () =>
        [...store.roles.values()].map(({ id, name }) => ({
            value: id,
            label: name === "@everyone" ? name : `@${name}`,
        }));
    const found = [];
    if (kind === "user" || kind === "mentionable") {
        found.push(...people());
    }
    if (kind === "role" || kind === "mentionable") {
        found.push(...roles());
    }
    if (kind === "channel") {
        found.push(...placesOf(app, select.channel_types));
    }
    return found.map((one) => ({ ...one, default: preset.has(one.value) }));
}

/** Return the places that the person sees, as options. */
export function placesOf(app, types) {
    const { store } = app;
    const all = [...store.channels.values(), ...store.threads.values()].filter((one) => one.type !== CATEGORY);
    const wanted = types?.length ? all.filter((one) => types.includes(one.type)) : all;
    return wanted.map((one) => ({ value: one.id, label: store.placeName(one) }));
}
