/** The clipboard. */

/** Put a text into the clipboard and say so. */
export async function copy(app, text) {
    try {
        await navigator.clipboard.writeText(text);
        app.toast("Copied.");
    } catch {
        app.toast("The browser did not let the page copy that.", "error");
    }
}
