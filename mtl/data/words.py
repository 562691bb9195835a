"""words: 564 everyday English nouns that sound different, to be said by voices and told from each other."""

_WORDS = """
acorn actor album alley almond anchor ankle antler apron archer arrow artist ash attic aunt autumn axe baby
backpack badge bag baker ball balloon bank banner barber barn barrel basin basket bath battery beach beak bear
beard beast bed bee beetle bell belt bench berry bicycle bird biscuit blade blanket blossom board boat bone
boot border bottle bowl box boy bracelet branch brass bread breeze brick bride bridge broom brother brush
bubble bucket bud buffalo bug bull bush butcher butter button cabbage cabin cactus cake calendar calf camel
camera canal canoe cap captain car card carrot cart castle cat cave ceiling cello chain chair cheese cherry
chicken child chimney chin circle circus city clay cliff clock cloth cloud clown coal coast coat coconut
coffee coin collar comb comet compass cook copper coral cork corn corner cottage cotton couch cousin cow crab
cradle crane crayon cream creek cricket crocodile crown crystal cub cucumber cupboard cushion daisy daughter
dawn deer dentist desert desk diamond dinner dish doctor dog doll donkey door dove drawer dream dress drill
drum duck dust eagle ear egg elbow elephant elf elm emerald engine envelope evening eyebrow fairy falcon
family fan farm father feather ferry field finger fire fish fist flame flute foot forest fork fossil fountain
fox frame friend frog funnel fur galaxy garage garden garlic gate ghost giant gift ginger giraffe glass globe
glove glue goat gold goose grain grape grass gravel guest gull hail hair hammer hammock hamster hand harbour
harp hat hawk hay head heart heel helmet hen herb heron hinge hive hole honey hood hook horse hospital hotel
house hunter hut iceberg igloo ink insect island ivory ivy jacket jail jam jar jaw jelly jigsaw jug juice
jungle kangaroo kettle key king kitchen kite kitten knee knife knight ladder lake lamb lamp lantern laundry
lava lawn lawyer leaf leather leopard letter lettuce library lighthouse lily lime lip lizard lobster lock log
magnet maid mango map maple marble market mask match meadow medal mermaid metal microphone mill mirror mist
mitten monkey moon morning moss moth mother motor mountain mouse mud mug nail napkin neck necklace needle
nephew nest net newspaper nurse nut oak oar oasis ocean octopus office oil onion orchard orchid ostrich otter
oven oyster paddle page palace palm pan panda paper parade parrot paw peach peacock pear pebble pelican pen
pencil penguin pepper piano pier pig pillow pilot pine pipe pirate planet plate playground plum poet pond pony
postman pot potato prince prison puddle puppet purse pyramid queen quilt rabbit radio raft railway rainbow
raspberry rat razor ribbon rice ring road robot rocket roof room root rose rug ruler salad sand sandal saw
scissors scorpion sea seal seed shark sheep shelf shell shepherd ship shoe shop shoulder shovel sister skirt
sleeve slipper smoke snail snake snow soap sock soldier son soup spider sponge spoon spring squirrel stable
stairs statue steam stem stone stove strawberry string sugar summer swan sweater sword table tail tailor tea
teacher teeth temple tent thimble thistle throat throne thumb thunder ticket tiger toad toe tomato tongue
tooth torch town tray treasure tree triangle trousers trumpet trunk tulip tunnel turkey turnip turtle umbrella
uncle valley van veil velvet village vine violin volcano vulture waist waiter wall walrus wand wasp watch
water wax weather web wedding whale wheat wheel whip whistle wig willow window wing winter wizard wolf woman
wool worm wrist yard zebra
"""
WORDS = tuple(_WORDS.split())
