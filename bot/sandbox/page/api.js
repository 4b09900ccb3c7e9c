/**
 * REST as a user's client calls it: JSON in and out, files as multipart, rate limits waited for.
 *
 * What a refusal means for the reader is worded in `wording.js`.
 */

const API_BASE = "/api/v10";
const SANDBOX_BASE = "/_sandbox";
const RATE_LIMIT_RETRIES = 3;
const RETRY_AFTER_LIMIT_SECONDS = 30;

/** A refused or lost request; `status` is 0 where the server could not be reached. */
export class ApiError extends Error {
    constructor({ status, code = 0, message, errors = null, retryAfter = null }) {
        super(message);
        this.name = "ApiError";
        this.status = status;
        this.code = code;
        this.errors = errors;
        this.retryAfter = retryAfter;
    }

    /** The first reason that names a field, such as {path: "content", message: "Must be 2000 or fewer in length."}. */
    get detail() {
        return firstDetail(this.errors, []);
    }
}

/** Calls of one person. */
export class Api {
    constructor(token, key) {
        this._authorization = { Authorization: token };
        this.sandbox = new Sandbox(key);
    }

    get(path, query) {
        return this._call("GET", path + queryString(query));
    }

    /** `files` go along as files[0], files[1]...; the body then says what they are in `attachments`. */
    post(path, body, { files = [] } = {}) {
        return this._call("POST", path, body, files);
    }

    patch(path, body) {
        return this._call("PATCH", path, body);
    }

    put(path, body) {
        return this._call("PUT", path, body);
    }

    delete(path) {
        return this._call("DELETE", path);
    }

    _call(method, path, body, files = []) {
        return request(method, API_BASE + path, this._authorization, body, files);
    }
}

/** What the sandbox has beside Discord's own routes, for who holds the page's key. */
export class Sandbox {
    constructor(key) {
        this._headers = { "X-Sandbox-Key": key };
    }

    get(path) {
        return request("GET", SANDBOX_BASE + path, this._headers);
    }

    post(path, body = {}) {
        return request("POST", SANDBOX_BASE + path, this._headers, body);
    }
}

function queryString(query = {}) {
    const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

async function request(method, url, headers, body, files = []) {
    for (let attempt = 0; ; attempt += 1) {
        const response = await send(method, url, headers, body, files);
        const data = await parsed(response);
        if (response.ok) {
            return data;
        }
        const error = refusal(response, data);
        if (response.status !== 429 || attempt === RATE_LIMIT_RETRIES) {
            throw error;
        }
        const seconds = Math.min(error.retryAfter ?? 1, RETRY_AFTER_LIMIT_SECONDS);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
}

async function send(method, url, headers, body, files) {
    const options = { method, headers: { ...headers }, cache: "no-store", credentials: "omit" };
    if (files.length) {
        options.body = multipart(body, files);
    } else if (body !== undefined) {
        options.headers["Content-Type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    try {
        return await fetch(url, options);
    } catch (cause) {
        throw new ApiError({ status: 0, message: `the server can't be reached (${cause.message})` });
    }
}

function multipart(body, files) {
    const form = new FormData();
    form.append("payload_json", JSON.stringify(body));
    files.forEach((file, index) => form.append(`files[${index}]`, file, file.name));
    return form;
}

async function parsed(response) {
    const text = await response.text().catch(() => "");
    try {
        return text ? JSON.parse(text) : null;
    } catch {
        // An error page of something in between is HTML; its status says enough.
        return null;
    }
}

function refusal(response, data) {
    return new ApiError({
        status: response.status,
        code: data?.code ?? 0,
        message: data?.message ?? data?.error ?? `${response.status} ${response.statusText}`,
        errors: data?.errors ?? null,
        retryAfter: data?.retry_after ?? null,
    });
}

function firstDetail(errors, path) {
    if (!errors || typeof errors !== "object") {
        return null;
    }
    if (Array.isArray(errors._errors) && errors._errors.length) {
        return { path: path.join("."), message: errors._errors[0].message };
    }
    for (const [name, inner] of Object.entries(errors)) {
        const found = firstDetail(inner, [...path, name]);
        if (found) {
            return found;
        }
    }
    return null;
}
