/** Times in words: of messages, and of Discord's timestamps. Everything is in the browser's zone. */

const LANGUAGE = "en-US";
const FORMS = {
    t: { timeStyle: "short" },
    T: { timeStyle: "medium" },
    d: { dateStyle: "short" },
    D: { dateStyle: "long" },
    f: { dateStyle: "long", timeStyle: "short" },
    F: { dateStyle: "full", timeStyle: "short" },
    s: { dateStyle: "short", timeStyle: "short" },
    S: { dateStyle: "short", timeStyle: "medium" },
};
const FORMATS = Object.fromEntries(
    Object.entries(FORMS).map(([form, how]) => [form, new Intl.DateTimeFormat(LANGUAGE, how)]),
);
const SHORT_CLOCK = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const RELATIVE = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });
/** Of a `Date`. */
const FURTHEST_SECONDS = 8.64e12;
const STEPS = [
    ["year", 31_536_000],
    ["month", 2_592_000],
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
    ["second", 1],
];

/** Whether a date can be as far away: the formats below throw for any other, and nothing at all would be drawn. */
export function isTime(seconds) {
    return Math.abs(seconds) <= FURTHEST_SECONDS;
}

/** Return Unix seconds in one of Discord's forms, by its letter. */
export function styledTime(seconds, form) {
    return form === "R" ? relativeTime(seconds) : FORMATS[form].format(new Date(seconds * 1000));
}

/** Return how far Unix seconds are from now: "in 5 minutes". */
export function relativeTime(seconds) {
    const away = Math.round(seconds - Date.now() / 1000);
    const [unit, size] = STEPS.find(([, step]) => Math.abs(away) >= step) ?? STEPS.at(-1);
    return RELATIVE.format(Math.trunc(away / size), unit);
}

/** Return Unix seconds with the day of the week. */
export function longTime(seconds) {
    return FORMATS.F.format(new Date(seconds * 1000));
}

/** Return when a message was sent, as it stands beside its author. */
export function messageTime(iso) {
    const when = new Date(iso);
    const clock = FORMATS.t.format(when);
    const days = dayNumber(new Date()) - dayNumber(when);
    if (days === 0) {
        return `Today at ${clock}`;
    }
    return days === 1 ? `Yesterday at ${clock}` : `${FORMATS.d.format(when)}, ${clock}`;
}

/** Return the time of day of a message, as short as it gets: it stands in the margin. */
export function clockTime(iso) {
    return SHORT_CLOCK.format(new Date(iso));
}

// Of the calendar here: midnights are not always a day apart.
function dayNumber(date) {
    return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000;
}
