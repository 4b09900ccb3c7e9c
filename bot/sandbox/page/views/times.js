/** Times in words. Pure. */

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

const UNITS = [
    ["year", 31_536_000_000],
    ["month", 2_592_000_000],
    ["day", 86_400_000],
    ["hour", 3_600_000],
    ["minute", 60_000],
];

/** Such as "5 min. ago"; milliseconds. */
export function agoText(then, now) {
    const passed = now - then;
    const unit = UNITS.find(([, length]) => passed >= length);
    return unit ? RELATIVE.format(-Math.floor(passed / unit[1]), unit[0]) : "just now";
}
