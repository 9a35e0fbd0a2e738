"""The texts on which forgetting is measured, written for this purpose and in no training data.

A number measured on other texts is another number: do not change them.
"""

TEXTS = (
    "A lighthouse stands where a coast is dangerous. For a long time its lamp burned oil, and a "
    "keeper climbed the stairs every few hours to trim the wick and wind the clockwork that "
    "turned the lens. Today most lamps are electric and switch themselves on when it grows "
    "dark, and the houses of the keepers are empty or rented to visitors in the summer.",
    "Bread needs flour, water, salt and yeast. Mix them until no dry flour is left, cover the "
    "bowl and let the dough rest for an hour. Fold it twice, shape it into a loaf and wait "
    "until it has doubled in size. Then bake it in a hot oven for forty minutes, and do not cut "
    "it before it is cool, however good it smells.",
    "My grandmother kept her letters in a wooden box under the stairs. When I was ten she let "
    "me read one of them. It had been written by her brother, who had gone to sea at sixteen "
    "and never came home again. He wrote about the heat, the flying fish and the price of "
    "oranges, and he asked her to look after his dog.",
    "The river rises in the hills to the north and flows for two hundred miles before it "
    "reaches the sea. In its upper part it is narrow and fast; below the old mill it becomes "
    "wide and slow, and small boats can use it all year. Three bridges cross it. The oldest was "
    "built of stone after a flood had carried away the wooden one.",
    "Members of this council, we have talked about the school for three years. We have counted "
    "the children, measured the rooms and asked what a new roof would cost. The time for "
    "counting is over. If we vote for the money tonight, the work can begin in the spring, and "
    "in the autumn no child of this town will have to learn in a corridor.",
    "Water expands when it freezes, which is why ice floats and why pipes burst in a cold "
    "winter. Most other substances do the opposite: as a solid they take up less room than as a "
    "liquid. The reason is the shape of the molecule. In ice each one is held by four "
    "neighbours in an open pattern, with more space between them than in the liquid.",
    '"You are late," said the old man without looking up. "The train was late," Anna said, "and '
    'nobody at the station knew why." She put her bag on the table and waited. He went on '
    "turning the small wheels of the clock in front of him, one after the other, until "
    'something clicked. "Trains," he said at last, "were never the trouble."',
    "To measure the height of a tree without climbing it, wait for a sunny day. Put a stick of "
    "one metre upright into the ground and measure the length of its shadow. Then measure the "
    "shadow of the tree. Divide the second length by the first, and you have the height of the "
    "tree in metres, as long as the ground is level.",
    "The town library opens at nine on weekdays and at ten on Saturdays. Books may be kept for "
    "four weeks and renewed twice, unless another reader is waiting. Newspapers are on the "
    "first floor, next to the window. Children under twelve need the signature of a parent to "
    "get a card, and the card itself costs nothing.",
    "Bees tell one another where flowers are by dancing. A bee that has found a good field runs "
    "in a straight line across the comb, shaking its body, then turns back in a half circle and "
    "runs again. The direction of the line shows the way in relation to the sun, and the longer "
    "the run takes, the farther away the field is.",
    "It had been raining for six days when the road gave way. Nobody was hurt, for the postman "
    "had seen the crack in the morning and put two chairs and a rope across it. By noon there "
    "was a hole as big as a barn, and half the village stood around it with umbrellas and told "
    "each other that they had always said so.",
    "A contract is an agreement that a court will enforce. One side makes an offer, the other "
    "accepts it, and each promises something of value. It need not be written down, although it "
    "is wise to do so, because people remember differently what they have said. If one side "
    "does not keep its promise, the other may ask for damages.",
    "The violin has four strings, tuned in fifths. The player presses them against a board "
    "without frets, so that every note has to be found by the finger and corrected by the ear. "
    "The bow is strung with horsehair and rubbed with resin; without it the hair would slide "
    "over the strings and make hardly any sound.",
    "In the last week of March prices rose by less than one percent, the office for statistics "
    "said on Tuesday. Food became cheaper for the second month, while rents and electricity "
    "went up. Economists had expected a larger increase. The central bank will decide next "
    "Thursday whether to change its rate of interest.",
    "Why do we forget most of our dreams? One answer is that memory needs attention, and the "
    "sleeping brain pays little of it to what it makes up. People who are woken in the middle "
    "of a dream can often tell it in detail. Five minutes later they remember pieces of it, and "
    "after breakfast perhaps only that there was a staircase.",
    "She was born in a small town in the south, the youngest of five sisters. At school she was "
    "good at drawing and bad at everything else. When she was nineteen she moved to the "
    "capital, worked in a hat shop and painted at night. Her first exhibition had eleven "
    "visitors; her last, forty years later, had to be kept open until midnight.",
    "If the engine does not start, check first whether there is fuel in the tank. Then look at "
    "the battery: the two cables must be clean and tight. Turn the key and listen. A click "
    "without anything else means that the battery is empty; a slow turning, that it soon will "
    "be. When the engine turns well and still does not start, call a mechanic.",
    "Glaciers are rivers of ice. Snow that falls high in the mountains is pressed together by "
    "the snow above it until it becomes solid, and its own weight makes it flow downhill, some "
    "centimetres or metres in a day. On its way it carries rocks, polishes valleys and leaves "
    "long walls of stones at its sides and its end.",
    "Dear Thomas, thank you for the seeds. The beans have come up already, the melons have not, "
    "and I am afraid that the birds got the lettuce. Your uncle wants to know whether you still "
    "have his ladder. We would be glad to see you in August, when the plums are ripe and the "
    "house is not so full. Bring the children and something to read.",
    "There are two ways to count the people of a country. One is to ask everybody on the same "
    "day, which is slow and expensive and happens once in ten years. The other is to keep a "
    "list and to add every birth and take away every death. Both make mistakes, and where they "
    "can be compared they differ by about one in a hundred.",
)
