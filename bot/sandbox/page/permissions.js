/**
 * What a member may do in a place, by Discord's rules. Pure.
 *
 * The server decides; this only says what is worth offering.
 */

export const PERMISSIONS = Object.freeze({
    administrator: 1n << 3n,
    manage_channels: 1n << 4n,
    manage_guild: 1n << 5n,
    add_reactions: 1n << 6n,
    view_channel: 1n << 10n,
    send_messages: 1n << 11n,
    manage_messages: 1n << 13n,
    embed_links: 1n << 14n,
    attach_files: 1n << 15n,
    read_message_history: 1n << 16n,
    mention_everyone: 1n << 17n,
    use_application_commands: 1n << 31n,
    manage_threads: 1n << 34n,
    create_public_threads: 1n << 35n,
    create_private_threads: 1n << 36n,
    send_messages_in_threads: 1n << 38n,
});

const EVERYTHING = Object.values(PERMISSIONS).reduce((all, bit) => all | bit, 0n);
const MODERATION = PERMISSIONS.manage_messages | PERMISSIONS.manage_threads | PERMISSIONS.manage_channels;

/** In direct messages everything is allowed but to moderate the other one. */
export const DIRECT_MESSAGE_PERMISSIONS = EVERYTHING & ~MODERATION;

/**
 * The bits of a member in a channel of the guild (for a thread: in its parent).
 *
 * The order is Discord's: roles, then the channel's say on @everyone, on the roles together, on the member.
 */
export function permissionsIn(guild, roles, member, channel) {
    if (guild.owner_id === member.user.id) {
        return EVERYTHING;
    }
    const bitsOf = (id) => BigInt(roles.get(id)?.permissions ?? 0);
    const base = [guild.id, ...member.roles].reduce((all, id) => all | bitsOf(id), 0n);
    if (base & PERMISSIONS.administrator) {
        return EVERYTHING;
    }
    const overwrites = channel?.permission_overwrites ?? [];
    const applied = (bits, those) => {
        const [allow, deny] = those.reduce(([a, d], one) => [a | BigInt(one.allow), d | BigInt(one.deny)], [0n, 0n]);
        return (bits & ~deny) | allow;
    };
    const ofEveryone = overwrites.filter((one) => one.id === guild.id);
    const ofRoles = overwrites.filter((one) => one.id !== guild.id && member.roles.includes(one.id));
    const ofMember = overwrites.filter((one) => one.id === member.user.id);
    return [ofEveryone, ofRoles, ofMember].reduce(applied, base);
}
