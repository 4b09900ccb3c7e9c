"""What the demo agent says at length, and what it says to do harm. Values only."""

from __future__ import annotations

BREAD = (
    "**Weigh** 500 g of flour, 350 g of water, 10 g of salt and a pinch of dry yeast. Scales are better "
    "than cups here, as flour packs differently each time.",
    "**Stir** everything together in a large bowl until no dry flour is left. It will look rough and "
    "sticky, and that is how it should look.",
    "**Cover** the bowl and leave it alone for half an hour. The flour takes up the water meanwhile, "
    "without any work of yours.",
    "**Fold** it: wet a hand, pull up one side of the dough, lay it over the other, turn the bowl, and do"
    " that four times around.",
    "**Wait** overnight, in a cool place. Time gives it more taste than kneading does; twelve hours are "
    "fine, and so are sixteen.",
    "**Shape** a ball on a floured table. Pull it towards you with both hands, so that its skin gets "
    "tight, and put it into a basket.",
    "**Heat** the oven to 240 °C with a heavy pot in it, lid included. Three quarters of an hour are not "
    "too long for that.",
    "**Bake** it in the closed pot for thirty minutes. Its own steam keeps the crust soft while the loaf still grows.",
    "**Brown** it for another fifteen minutes without the lid, until it sounds hollow when you knock on its bottom.",
    "**Cool** it on a rack for an hour. It goes on baking inside for a while, and cuts badly as long as it is hot.",
)
"""How to bake, step by step."""

HOSTILE = (
    "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title = 'taken over'\">"
    '<svg onload="document.title = \'hostile\'"></svg><iframe srcdoc="<script>alert(1)</script>"></iframe>'
    "<style>body { display: none }</style>\n\n",
    "[a link](javascript:document.title='taken over') [another](data:text/html,<script>alert(1)</script>) "
    "<javascript:alert(1)> [https://discord.com](https://example.invalid/) ![picture](https://example.invalid/x.png)\n\n",
    "@everyone @here <@&1> <@1> <#1> </ban:1> <a:x:1>\n\n",
    "A name that reads backwards: \u202etxt.exe\u202c, marks without end: e"
    + "\u0301" * 60
    + ", and \x00\x1b[31mred\x1b[0m.\n\n",
    "```html\n</code></pre><script>document.title = 'taken over'</script>\n```\n",
    "**" * 500 + "\n" + "> " * 500 + "deep\n\n",
)
"""Each is a message that must do no harm to whoever shows it."""

LONG_LINE = 1_000_000
"""Characters without a break."""
