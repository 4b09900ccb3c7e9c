// Answers a message, edits the answer, answers a click, and says on standard output what its library told it.
// The modules lie elsewhere than this file, so they are found from NODE_CLIENT_MODULES.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_CLIENT_MODULES}/`);
const { ActionRowBuilder, ButtonBuilder, ButtonStyle, Client, Events, GatewayIntentBits } = require("discord.js");

const { Guilds, GuildMessages, MessageContent } = GatewayIntentBits;
const client = new Client({
  intents: [Guilds, GuildMessages, MessageContent],
  rest: { api: process.env.DISCORD_API },
});

function tell(event, data) {
  console.log(JSON.stringify({ event, ...data }));
}

client.once(Events.ClientReady, (ready) => {
  const guild = ready.guilds.cache.first();
  tell("ready", { user: ready.user.username, channels: guild.channels.cache.map((one) => one.name) });
});

client.on(Events.MessageCreate, async (message) => {
  if (message.author.bot) return;
  tell("message", { text: message.content, author: message.member.displayName });
  const button = new ButtonBuilder().setCustomId("go").setLabel("Go").setStyle(ButtonStyle.Primary);
  const row = new ActionRowBuilder().addComponents(button);
  const answer = await message.reply({ content: "wait", components: [row] });
  await answer.edit(`you said ${message.content}`);
  await message.react("👀");
});

client.on(Events.InteractionCreate, async (interaction) => {
  if (!interaction.isButton()) return;
  await interaction.update({ content: `${interaction.user.username} pressed`, components: [] });
  await interaction.followUp({ content: "and more", ephemeral: false });
});

client.on(Events.Error, (error) => tell("error", { text: String(error) }));

process.stdin.on("end", () => client.destroy()).resume();
await client.login(process.env.DISCORD_TOKEN);
