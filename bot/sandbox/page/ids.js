/**
 * Snowflakes: their order and the time in them. Pure.
 *
 * They have more bits than a number holds exactly, so they stay strings; a BigInt for each comparison would be slow.
 */

const EPOCH_MS = 1420070400000n;

/** Below 0 if a is older than b, 0 if they are the same. */
export function compareIds(a, b) {
    return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** When the id was made, in milliseconds since 1970. */
export function timeOf(id) {
    return Number((BigInt(id) >> 22n) + EPOCH_MS);
}

/** An id of this moment, for a nonce and for a message that has none yet; `serial` keeps those of one moment apart. */
export function idAt(milliseconds, serial = 0) {
    return String(((BigInt(Math.floor(milliseconds)) - EPOCH_MS) << 22n) | BigInt(serial & 0x3fffff));
}
