/** The slash commands that the person may use here: loaded, with their sub-commands, found by what is typed. */

import { inside } from "./inside.js";

const CHAT_INPUT = 1;
const SUB_COMMAND = 1;
const SUB_COMMAND_GROUP = 2;
const DM = 1;
const DM_CONTEXT = 1;
const STALE_MS = 30_000;

/** Load the index if there is none of late: commands are registered anew whenever the bot starts. */
export function loadCommands(app) {
    const state = inside(app);
    const { channelId } = app.ui;
    if (state.indexOf !== channelId || Date.now() - state.indexAt > STALE_MS) {
        Object.assign(state, { indexOf: channelId, indexAt: Date.now() });
        state.indexLoading = load(app, state, channelId);
    }
    return state.indexLoading;
}

async function load(app, state, channelId) {
    try {
        // Of the place: who may use what can differ from channel to channel, and direct messages have no server.
        app.store.setCommands(await app.api.get(`/channels/${channelId}/application-command-index`));
        state.indexError = "";
    } catch (error) {
        Object.assign(state, { indexOf: null, indexError: error.message });
    }
    state.indexLoading = null;
    app.update();
}

/** Return every command and sub-command: `{command, path, name, description, options, application}`. */
export function entriesOf(app) {
    const { applications = [], application_commands: commands = [] } = app.store.commands ?? {};
    const direct = app.place?.type === DM;
    const usable = commands.filter((one) => (one.type ?? CHAT_INPUT) === CHAT_INPUT && (!direct || worksInDirect(one)));
    return usable.flatMap((command) => {
        const application = applications.find((one) => one.id === command.application_id)?.name ?? "";
        return leavesOf(command, []).map((leaf) => ({ ...leaf, command, application }));
    });
}

function worksInDirect(command) {
    return command.contexts ? command.contexts.includes(DM_CONTEXT) : command.dm_permission !== false;
}

function leavesOf(level, above) {
    const path = [...above, level.name];
    const options = level.options ?? [];
    const subs = options.filter((one) => one.type === SUB_COMMAND || one.type === SUB_COMMAND_GROUP);
    if (subs.length) {
        return subs.flatMap((one) => leavesOf(one, path));
    }
    return [{ path, name: path.join(" "), description: level.description ?? "", options }];
}

/** Return the entries that fit what was typed after the slash, best first. */
export function found(app, typed) {
    const words = typed.toLowerCase().trimStart();
    const rank = ({ name, description }) => {
        if (name.startsWith(words)) {
            return 0;
        }
        if (name.includes(words)) {
            return 1;
        }
        return words.length > 2 && !words.includes(" ") && description.toLowerCase().includes(words) ? 2 : null;
    };
    return entriesOf(app)
        .map((entry) => ({ entry, rank: rank(entry) }))
        .filter((one) => one.rank !== null)
        .sort((one, other) => one.rank - other.rank || one.entry.name.localeCompare(other.entry.name))
        .map((one) => one.entry);
}
