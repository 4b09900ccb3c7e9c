/**
 * What a person has begun to write, for each place: text that survives a reload, files that can't.
 */

import { tabStorage } from "./keep.js";

const EMPTY = Object.freeze({ text: "", files: Object.freeze([]) });

export class Drafts {
    constructor(personId) {
        this._name = `drafts.${personId}`;
        this._texts = tabStorage.get(this._name, {});
        this._files = new Map();
    }

    /** `{text, files: [{id, file, url}]}`; `url` is an address of the file's content in this page. */
    of(channelId) {
        const text = this._texts[channelId] ?? "";
        const files = this._files.get(channelId) ?? EMPTY.files;
        return text || files.length ? { text, files } : EMPTY;
    }

    setText(channelId, text) {
        if (text) {
            this._texts[channelId] = text;
        } else {
            delete this._texts[channelId];
        }
        tabStorage.set(this._name, this._texts);
    }

    addFiles(channelId, files) {
        const added = files.map((file) => ({ id: crypto.randomUUID(), file, url: URL.createObjectURL(file) }));
        this._files.set(channelId, [...this.of(channelId).files, ...added]);
    }

    removeFile(channelId, id) {
        const { files } = this.of(channelId);
        files.filter((one) => one.id === id).forEach((one) => URL.revokeObjectURL(one.url));
        this._files.set(
            channelId,
            files.filter((one) => one.id !== id),
        );
    }

    /** Take everything out; the files' addresses stay valid, as the sent message shows them. */
    take(channelId) {
        const draft = this.of(channelId);
        this.setText(channelId, "");
        this._files.delete(channelId);
        return draft;
    }
}
