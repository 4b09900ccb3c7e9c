/** What the page remembers over a reload: small JSON values in the browser's storage, if it gives us one. */

const PREFIX = "sandbox.";

/** Of this tab: two tabs may act as two people. */
export const tabStorage = keeper(() => globalThis.sessionStorage);

/** Of this browser. */
export const browserStorage = keeper(() => globalThis.localStorage);

function keeper(storage) {
    return {
        get(name, otherwise = null) {
            try {
                return JSON.parse(storage().getItem(PREFIX + name)) ?? otherwise;
            } catch {
                // Storage may be refused by the browser's settings, or hold what another version wrote.
                return otherwise;
            }
        },

        set(name, value) {
            try {
                storage().setItem(PREFIX + name, JSON.stringify(value));
            } catch {
                // Refused or full: then a reload forgets it, and nothing else depends on it.
            }
        },
    };
}
