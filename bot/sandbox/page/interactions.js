export function onInteractionEvent(_app, _name, _data) {
    return false;
}
