// SPDX-License-Identifier: Apache-2.0
// The built-in evaluation text, written for Octavo: several kinds of text, so that one domain alone
// does not decide, and long enough for four windows of 512 tokens.
#include "quality/evaluation_text.h"

namespace octavo {

std::string_view BuiltInText() {
  static constexpr std::string_view kText = R"text(The ferry left the northern harbour at ten past six, when the hills were still grey and the gulls had not yet decided which fishing boat to follow. Marta stood at the stern with a paper cup of coffee, counting the lights along the shore until the last one, the lamp above her grandmother's door, went out behind the cape. She had promised to telephone on Sunday. She had also promised to eat properly, to avoid the upper deck in a storm, and not to marry a sailor, and of these three only the second seemed likely to be difficult.

The engine had a rhythm that one noticed only when it changed. Around noon it slowed down, and the captain, a small man with an enormous voice, explained through the loudspeaker that fog was lying over the channel and that they would wait. Nobody complained. A schoolteacher from the mainland took a chess set out of his bag and asked whether anybody played. A boy of about nine said that he did, and beat him in twenty-six moves.

"You let me win," said the boy.

"I did not," said the teacher. "I would have, had you given me the time to think of it."

How does fog form over water? Air holds a limited amount of vapour, and the limit falls with temperature. When warm, moist air drifts across a colder sea, its lowest layer cools until it can no longer hold what it carries; the surplus condenses into droplets a few hundredths of a millimetre across, small enough to float. Such fog is called advection fog. It differs from radiation fog, which forms on clear, still nights when the ground loses heat to the sky. Advection fog can last for days, because wind, which would disperse the other kind, is precisely what feeds it.

In 1854 a physician in London marked on a map the houses in which people had died of cholera. The marks gathered around a water pump in Broad Street. The prevailing theory held that the disease travelled in bad air, but a brewery beside the pump had lost none of its workers: they drank beer. When the handle of the pump was removed the epidemic was already fading, so the act itself proved little; the map, however, changed what it meant to ask where a disease comes from. A good chart does not decorate an argument. It is the argument.

Here is a recipe for plain bread. Mix 500 grams of flour, 10 grams of salt, 7 grams of dried yeast and 340 millilitres of lukewarm water. Knead for ten minutes, or until the dough springs back when pressed. Cover it and let it rise for an hour; it should double in size. Shape it, let it rest for another thirty minutes, cut the top, and bake it at 230 degrees Celsius for 35 minutes. The loaf is done when it sounds hollow. Let it cool before slicing, which is the hardest step.

The following function returns the median of a list of numbers. It sorts a copy, so the caller's list stays as it was.

```python
def median(values):
    """Return the middle value, or the mean of the two middle values."""
    if not values:
        raise ValueError("median of an empty list")
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


for sample in ([3, 1, 2], [4, 1, 3, 2], [7]):
    print(sample, median(sample))
```

And the same idea in C++, where the standard library offers a faster way for long lists:

```cpp
#include <algorithm>
#include <vector>

double Median(std::vector<double> values) {
  auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  double upper = *middle;
  double lower = *std::max_element(values.begin(), middle);
  return (lower + upper) / 2;
}
```

A report from the weather station, in JSON:

```json
{"station": "Cape East", "date": "2024-03-17", "readings": [
  {"hour": 6, "temperature": 4.2, "wind": {"speed": 11, "direction": "NNE"}},
  {"hour": 12, "temperature": 7.9, "wind": {"speed": 8, "direction": "NE"}},
  {"hour": 18, "temperature": 5.6, "wind": {"speed": 14, "direction": "N"}}
]}
```

| Month | Rain (mm) | Sun (h) |
|-------|-----------|---------|
| January | 82 | 51 |
| April | 54 | 164 |
| July | 61 | 208 |
| October | 97 | 98 |

Question: A train leaves the station at 14:20 and travels at 90 kilometres per hour. A second train leaves the same station on the same track at 14:50 and travels at 120 kilometres per hour. When does the second train catch up?

Answer: When the second train starts, the first has been travelling for half an hour and is 45 kilometres ahead. The second train gains 120 - 90 = 30 kilometres every hour, so it needs 45 / 30 = 1.5 hours. It catches up at 16:20, at a distance of 180 kilometres from the station.

Let f(x) = x^2 - 4x + 3. Then f'(x) = 2x - 4, which is zero at x = 2, and f(2) = -1. Since the second derivative is positive, the function has its minimum there. Its roots are x = 1 and x = 3, as the factors (x - 1)(x - 3) show.

Dear Ms Okafor,

Thank you for your letter of 9 May. We are sorry that the second parcel arrived with a broken seal. A replacement was sent this morning and should reach you by Friday; there is no need to return the damaged one. If you would rather have your money back, please let us know by the end of the month.

Yours sincerely,
The dispatch department

Der alte Leuchtturm steht seit mehr als hundert Jahren auf dem Felsen vor der Insel. Früher wohnte dort ein Wärter mit seiner Familie; heute wird das Licht von einem Rechner an Land gesteuert, und nur im Sommer kommen Besucher, die die zweihundertvierzehn Stufen hinaufsteigen und sich oben über den Wind wundern.

Le marché ouvre à sept heures. On y trouve des légumes, du fromage, des fleurs et, le samedi, un homme qui répare les montres en racontant toujours la même histoire. Personne ne l'interrompt, car la fin change chaque semaine.

El río baja lento en agosto. Los niños cruzan de una orilla a la otra saltando sobre las piedras, y los viejos, sentados a la sombra del puente, apuestan a ver quién se cae primero.

Minutes of the garden committee. Present: four members and one dog. 1. The minutes of the last meeting were approved. 2. The treasurer reported a balance of 212.40, of which 150 is set aside for the new water tank. 3. It was agreed, after some discussion, that beans may be planted along the east fence provided that they do not shade the strawberries. 4. The question of the missing wheelbarrow was postponed again. 5. The next meeting will be held on the first Tuesday in June.

The library of a small town is a strange machine. It lends the same object hundreds of times and has more of it afterwards, because each reader who returns a book leaves behind a recommendation, a bus ticket between pages 40 and 41, or an opinion in pencil that the next reader cannot resist answering. The old librarian used to say that she could tell how a winter had been from the state of the atlases. In hard winters people travelled.

To replace the battery, first switch the device off and disconnect the cable. Loosen the two screws on the back with a size 1 screwdriver and slide the cover towards you. Lift the old battery by its tab; do not lever it out with a metal tool. Insert the new battery with the label facing up, press until it clicks, and close the cover. If the red light blinks after restarting, hold the power button for ten seconds to reset the controller.

Evolution has no foresight. A structure that will be useful in a million years must pay its way today, or at least not cost too much. Feathers probably kept small dinosaurs warm long before any of them left the ground; the bones of our middle ear once belonged to the jaws of reptiles. What looks like a plan is usually a series of repairs, each made with whatever lay at hand, none of them made with the next one in mind.

By the time the fog lifted it was nearly four. The boy had won three more games, the teacher had learned the names of all his cousins, and Marta had written a letter that she did not intend to send. The harbour on the other side came into view all at once, as if somebody had pulled away a sheet: the cranes, the yellow customs house, the row of lime trees, and on the quay, holding a sign with her name misspelled, a man in a sailor's cap.
)text";
  return kText;
}

}  // namespace octavo
