/**
 * Plays a server, a gateway and a reader against the page's own modules, in a random order, and tells what differs.
 *
 * What a request answers is taken at one moment and arrives at a later one; events arrive in their order, but at any
 * time. In the end what is shown has to be a part of what the server has, without a gap. Returns a list of complaints.
 */
(async ({ seed, steps }) => {
    const { WINDOW_SIZE } = await import("/page/conversation.js");
    const history = await import("/page/history.js");
    const { Store } = await import("/page/store.js");

    let state = seed;
    const random = (below) => {
        state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
        return (state >> 8) % below;
    };
    const author = { id: "7", username: "ana" };
    const server = [];
    const events = [];
    const requests = [];
    const store = new Store();
    store.me = author;
    // A timer would wait some milliseconds each time.
    const channel = new MessageChannel();
    const waiting = [];
    channel.port1.onmessage = () => waiting.shift()();
    const turn = () =>
        new Promise((resolve) => {
            waiting.push(resolve);
            channel.port2.postMessage(null);
        });
    const app = { store, update() {}, rendered: turn, scroller: { anchorId: null }, ui: { status: "ready" } };
    // An event that an answer contains is heard before the answer, as the server tells it first.
    let told = 0;
    let heard = 0;
    const tell = (name, data) => {
        told += 1;
        events.push([name, data]);
    };
    app.api = { get: (path, query) => new Promise((resolve) => requests.push({ path, query, resolve, answer: null })) };

    let nextId = 1000;
    const copy = (message) => structuredClone(message);
    const create = () => {
        const message = { id: String(nextId++), channel_id: "1", author, content: "new", flags: 0, reactions: [] };
        server.push(message);
        tell("MESSAGE_CREATE", copy(message));
    };
    const edit = (message) => {
        message.content = `edit ${random(1000)}`;
        tell("MESSAGE_UPDATE", { id: message.id, channel_id: "1", author, content: message.content });
    };
    const react = (message) => {
        const emoji = { id: null, name: "👍" };
        const [known] = message.reactions;
        message.reactions = [{ emoji, count: (known?.count ?? 0) + 1, me: false }];
        tell("MESSAGE_REACTION_ADD", { channel_id: "1", message_id: message.id, user_id: "9", emoji });
    };
    const remove = (message) => {
        server.splice(server.indexOf(message), 1);
        tell("MESSAGE_DELETE", { channel_id: "1", id: message.id });
    };
    const some = () => server[random(server.length)];
    const recent = () => server[server.length - 1 - random(5)];

    const read = (request) => {
        request.contains = told;
        const { limit, before, after, around } = request.query;
        let part = server.slice(-limit);
        if (before) {
            part = server.filter((one) => Number(one.id) < Number(before)).slice(-limit);
        } else if (after) {
            part = server.filter((one) => Number(one.id) > Number(after)).slice(0, limit);
        } else if (around) {
            const middle = server.findIndex((one) => Number(one.id) >= Number(around));
            const start = Math.max(0, middle - Math.floor(limit / 2));
            part = server.slice(start, start + limit);
        }
        request.answer = copy(part).reverse();
    };
    const answer = () => {
        const index = random(requests.length || 1);
        const request = requests[index];
        if (request && !request.answer) {
            read(request);
        } else if (request && heard >= request.contains) {
            requests.splice(index, 1);
            request.resolve(request.answer);
        }
    };
    const load = () => {
        const loads = [history.loadOlder, history.loadNewer, history.loadOlder, history.loadNewer, history.loadLatest];
        const kind = random(7);
        if (kind < loads.length) {
            loads[kind](app, "1");
        } else {
            history.loadAround(app, "1", some().id);
        }
    };
    const deliver = () => {
        if (events.length) {
            heard += 1;
            store.apply(...events.shift());
        }
    };

    for (let count = 0; count < 400; count += 1) {
        create();
    }
    heard = events.splice(0).length;
    history.loadLatest(app, "1");
    for (let step = 0; step < steps; step += 1) {
        const what = random(16);
        const moves = [create, () => edit(some()), () => react(recent()), () => remove(some()), load];
        (moves[what] ?? (what % 2 ? answer : deliver))();
        if (what === 15) {
            store.conversation("1").follow(random(2) === 0);
        }
        if (random(3) === 0) {
            await turn();
        }
    }
    while (events.length || requests.length || store.conversation("1").loading) {
        deliver();
        answer();
        await turn();
    }

    const shown = store.conversation("1").messages;
    const { atStart, atEnd } = store.conversation("1");
    const from = server.findIndex((one) => one.id === shown[0]?.id);
    const expected = server.slice(from, from + shown.length);
    const text = (one) => `${one.id} ${one.content} ${one.reactions[0]?.count ?? 0}`;
    const wrong = shown.filter((one, index) => !expected[index] || text(one) !== text(expected[index]));
    return [
        ...wrong.slice(0, 3).map((one) => `shows ${text(one)}`),
        ...(shown.length > WINDOW_SIZE ? [`holds ${shown.length}`] : []),
        ...(atEnd && shown.at(-1)?.id !== server.at(-1).id ? ["is not at the end"] : []),
        ...(atStart && shown[0]?.id !== server[0].id ? ["is not at the start"] : []),
    ];
})
