//! The cursor beside an oracle: a recursive reading of the table of node kinds, on random trees with random
//! outcomes. Both draw from the same stream, so a difference in order shows as well.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const TREES: u64 = 10_000;
const STEPS: usize = 60;
const EVERY_KIND: [Kind; 18] = [
    Kind::Sequence,
    Kind::Select,
    Kind::Random,
    Kind::RandomWeighted,
    Kind::RepeatN,
    Kind::RepeatUntilSucceed,
    Kind::RepeatUntilFail,
    Kind::AlwaysSucceed,
    Kind::AlwaysFail,
    Kind::Negate,
    Kind::Retry,
    Kind::Eventually,
    Kind::Timeout,
    Kind::Pace,
    Kind::Once,
    Kind::ByRole,
    Kind::Subtree,
    Kind::Guard,
];

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Run(NodeId, bool),
    Pause(NodeId, Duration),
    Take(NodeId, Taken),
    GiveBack(NodeId, bool),
    Dropped(NodeId),
    Late(NodeId, u32),
    Ended(bool),
}

/// Chance and time, and what was seen. Everything that happens takes from it in the order in which it happens.
struct Chance {
    rng: StdRng,
    now: Duration,
    seen: Vec<Seen>,
}

impl Chance {
    fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), now: Duration::ZERO, seen: Vec::new() }
    }

    fn coin(&mut self) -> bool {
        self.rng.random()
    }

    fn full(&self) -> bool {
        self.seen.len() >= STEPS
    }
}

impl World for Chance {
    fn now(&self) -> Duration {
        self.now
    }

    fn draw(&mut self, below: u32) -> u32 {
        self.rng.random_range(0..below)
    }

    fn times(&mut self, _: NodeId) -> u32 {
        self.rng.random_range(0..4)
    }

    /// The same at every visit: a pace that changes is none.
    fn pause(&mut self, node: NodeId) -> Duration {
        Duration::from_millis(u64::from(node) * 700 % 4_000)
    }

    fn limit(&mut self, _: NodeId) -> Duration {
        Duration::from_millis(self.rng.random_range(0..9_000))
    }

    fn role(&mut self, _: NodeId) -> Option<usize> {
        // Every `by_role` has a child.
        self.coin().then_some(0)
    }

    fn late(&mut self, node: NodeId, missed: u32) {
        self.seen.push(Seen::Late(node, missed));
    }
}

/// How long each action runs.
const ACTION: Duration = Duration::from_secs(1);

fn taken(chance: &mut Chance) -> Taken {
    match chance.draw(3) {
        0 => Taken::Skip(chance.coin()),
        _ => Taken::Enter,
    }
}

fn random_tree(rng: &mut StdRng) -> Tree {
    let mut tree = Tree::default();
    grow(&mut tree, rng, 5);
    tree.check().unwrap();
    tree
}

fn grow(tree: &mut Tree, rng: &mut StdRng, depth: u32) -> NodeId {
    let leaf = depth == 0 || rng.random_ratio(1, 4);
    let kind = if leaf { Kind::Leaf } else { EVERY_KIND[rng.random_range(0..EVERY_KIND.len())] };
    let id = tree.add(kind).unwrap();
    let children = match kind {
        Kind::Leaf => 0,
        Kind::Sequence | Kind::Select | Kind::Random | Kind::RandomWeighted => rng.random_range(1..4),
        _ => 1,
    };
    for _ in 0..children {
        let child = grow(tree, rng, depth - 1);
        tree.adopt(id, child, rng.random_range(1..5));
    }
    id
}

/// What the cursor does, until the root ends or enough was seen.
fn by_cursor(tree: &Tree, seed: u64) -> Vec<Seen> {
    let mut world = Chance::new(seed);
    let mut cursor = Cursor::default();
    let mut step = cursor.start(tree, &mut world);
    while !world.full() {
        let until = match step {
            Step::Run(_) => Some(world.now + ACTION),
            Step::Pause(_, until) => Some(until),
            _ => None,
        };
        if let (Some(until), Some(deadline)) = (until, cursor.deadline(tree))
            && deadline < until
        {
            world.now = world.now.max(deadline);
            let (dropped, next) = cursor.expire(tree, &mut world);
            // What the cursor moved on to may have been seen in the same breath.
            let late = world.seen.split_off(
                world
                    .seen
                    .iter()
                    .rposition(|seen| !matches!(seen, Seen::Late(..)))
                    .map_or(0, |last| last + 1),
            );
            world.seen.extend(dropped.into_iter().map(Seen::Dropped));
            world.seen.extend(late);
            step = next;
            continue;
        }
        world.now = until.unwrap_or(world.now);
        step = match step {
            Step::Run(id) => {
                let succeeded = world.coin();
                world.seen.push(Seen::Run(id, succeeded));
                cursor.resolve(tree, succeeded, &mut world)
            }
            Step::Pause(id, until) => {
                world.seen.push(Seen::Pause(id, until));
                cursor.resume(tree, &mut world)
            }
            Step::Take(id) => {
                let taken = taken(&mut world);
                world.seen.push(Seen::Take(id, taken));
                cursor.taken(tree, taken, &mut world)
            }
            Step::GiveBack(id, succeeded) => {
                world.seen.push(Seen::GiveBack(id, succeeded));
                cursor.given_back(tree, succeeded, &mut world)
            }
            Step::End(succeeded) => {
                world.seen.push(Seen::Ended(succeeded));
                break;
            }
        };
    }
    world.seen
}

/// Why the oracle stopped in the middle.
enum Stop {
    /// Enough was seen.
    Full,
    /// The time of this `timeout` is over.
    Over(NodeId),
}

/// The table, read aloud.
struct Oracle<'a> {
    tree: &'a Tree,
    world: Chance,
    /// The open timeouts, outermost first.
    deadlines: Vec<(NodeId, Duration)>,
    once: std::collections::HashMap<NodeId, bool>,
    paced: std::collections::HashMap<NodeId, (Duration, u32)>,
}

impl Oracle<'_> {
    fn see(&mut self, seen: Seen) -> Result<(), Stop> {
        self.world.seen.push(seen);
        if self.world.full() { Err(Stop::Full) } else { Ok(()) }
    }

    /// Lets time pass, or the first deadline come.
    fn spend(&mut self, until: Duration) -> Result<(), Stop> {
        let first = self.deadlines.iter().map(|(_, deadline)| *deadline).min();
        if let Some(first) = first
            && first < until
        {
            let now = self.world.now.max(first);
            self.world.now = now;
            let (id, _) = self.deadlines.iter().find(|(_, deadline)| *deadline <= now).unwrap();
            return Err(Stop::Over(*id));
        }
        self.world.now = until;
        Ok(())
    }

    fn run(&mut self, id: NodeId) -> Result<bool, Stop> {
        let node = self.tree.node(id).clone();
        let child = |oracle: &mut Self, place: usize| oracle.run(node.children[place]);
        match node.kind {
            Kind::Leaf => {
                self.spend(self.world.now + ACTION)?;
                let succeeded = self.world.coin();
                self.see(Seen::Run(id, succeeded))?;
                Ok(succeeded)
            }
            Kind::Sequence => {
                for place in 0..node.children.len() {
                    if !child(self, place)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Kind::Select => {
                for place in 0..node.children.len() {
                    if child(self, place)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Kind::Random => {
                let place = self.world.draw(node.children.len() as u32);
                child(self, place as usize)
            }
            Kind::RandomWeighted => {
                let drawn = self.world.draw(node.weights.iter().sum());
                let mut sum = 0;
                let place = node.weights.iter().position(|weight| {
                    sum += weight;
                    drawn < sum
                });
                child(self, place.unwrap())
            }
            Kind::RepeatN => {
                for _ in 0..self.world.times(id) {
                    child(self, 0)?;
                }
                Ok(true)
            }
            Kind::RepeatUntilSucceed => {
                while !child(self, 0)? {}
                Ok(true)
            }
            Kind::RepeatUntilFail => {
                while child(self, 0)? {}
                Ok(true)
            }
            Kind::AlwaysSucceed => child(self, 0).map(|_| true),
            Kind::AlwaysFail => child(self, 0).map(|_| false),
            Kind::Negate => child(self, 0).map(|succeeded| !succeeded),
            Kind::Subtree => child(self, 0),
            Kind::Retry => {
                let times = self.world.times(id);
                for run in 1..=times {
                    if child(self, 0)? {
                        return Ok(true);
                    }
                    if run < times {
                        self.wait(id)?;
                    }
                }
                Ok(false)
            }
            Kind::Eventually => {
                let end = self.world.now + self.world.limit(id);
                loop {
                    if child(self, 0)? {
                        return Ok(true);
                    }
                    if self.world.now >= end {
                        return Ok(false);
                    }
                    self.wait(id)?;
                }
            }
            Kind::Timeout => {
                let end = self.world.now + self.world.limit(id);
                self.deadlines.push((id, end));
                let open = self.deadlines.len() - 1;
                let ended = child(self, 0);
                self.deadlines.truncate(open);
                match ended {
                    Err(Stop::Over(over)) if over == id => Ok(false),
                    ended => ended,
                }
            }
            Kind::Pace => {
                let every = self.world.pause(id);
                let (start, k) = *self.paced.entry(id).or_insert((self.world.now, 0));
                let since = self.world.now - start;
                let slot = (since.as_nanos() / every.as_nanos().max(1)) as u32;
                let k = if every > Duration::ZERO && slot > k {
                    self.see(Seen::Late(id, slot - k))?;
                    slot
                } else {
                    k
                };
                let wanted = start + every * self.paced[&id].1;
                self.paced.insert(id, (start, k + 1));
                if wanted > self.world.now {
                    self.spend(wanted)?;
                    self.see(Seen::Pause(id, wanted))?;
                }
                child(self, 0)
            }
            Kind::Once => match self.once.get(&id) {
                Some(ended) => Ok(*ended),
                None => {
                    let ended = child(self, 0)?;
                    self.once.insert(id, ended);
                    Ok(ended)
                }
            },
            Kind::ByRole => match self.world.role(id) {
                Some(place) => child(self, place),
                None => Ok(true),
            },
            Kind::Guard => {
                let taken = taken(&mut self.world);
                self.see(Seen::Take(id, taken))?;
                if let Taken::Skip(succeeded) = taken {
                    return Ok(succeeded);
                }
                match child(self, 0) {
                    Err(Stop::Over(over)) => {
                        self.see(Seen::Dropped(id))?;
                        Err(Stop::Over(over))
                    }
                    Err(full) => Err(full),
                    Ok(succeeded) => {
                        self.see(Seen::GiveBack(id, succeeded))?;
                        Ok(succeeded)
                    }
                }
            }
        }
    }

    fn wait(&mut self, id: NodeId) -> Result<(), Stop> {
        let until = self.world.now + self.world.pause(id);
        self.spend(until)?;
        self.see(Seen::Pause(id, until))
    }
}

fn by_oracle(tree: &Tree, seed: u64) -> Vec<Seen> {
    let mut oracle = Oracle {
        tree,
        world: Chance::new(seed),
        deadlines: Vec::new(),
        once: Default::default(),
        paced: Default::default(),
    };
    if let Ok(succeeded) = oracle.run(0) {
        oracle.world.seen.push(Seen::Ended(succeeded));
    }
    oracle.world.seen
}

/// A tree that can spin without anything being seen would keep the oracle for ever; such trees are refused
/// before they run, and are passed over here.
fn can_spin(tree: &Tree) -> bool {
    let silent = |id: NodeId| {
        let mut open = vec![id];
        let mut waits = true;
        while let Some(id) = open.pop() {
            let node = tree.node(id);
            // Some visits of these see no leaf at all.
            waits &= !matches!(node.kind, Kind::RepeatN | Kind::Retry | Kind::ByRole | Kind::Once);
            open.extend(&node.children);
        }
        !waits
    };
    tree.nodes().any(|(_, node)| match node.kind {
        Kind::RepeatUntilSucceed | Kind::RepeatUntilFail => silent(node.children[0]),
        _ => false,
    })
}

#[test]
fn nodes_match_the_table() {
    let mut kinds = std::collections::HashSet::new();
    for seed in 0..TREES {
        let tree = random_tree(&mut StdRng::seed_from_u64(seed));
        if can_spin(&tree) {
            continue;
        }
        kinds.extend(tree.nodes().map(|(_, node)| format!("{:?}", node.kind)));
        let (cursor, oracle) = (by_cursor(&tree, seed), by_oracle(&tree, seed));
        let seen = cursor.len().min(oracle.len());
        assert_eq!(cursor[..seen], oracle[..seen], "seed {seed}: {tree:?}");
        assert!(seen >= STEPS || cursor.len() == oracle.len(), "seed {seed}: one of them ended early");
    }
    assert_eq!(kinds.len(), EVERY_KIND.len() + 1, "every kind came up");
}

#[test]
fn what_is_no_tree_is_told() {
    let mut tree = Tree::default();
    let root = tree.add(Kind::RandomWeighted).unwrap();
    assert_eq!(tree.check(), Err((0, Flaw::NoChild(Kind::RandomWeighted))));
    let leaf = tree.add(Kind::Leaf).unwrap();
    tree.adopt(root, leaf, 0);
    assert_eq!(tree.check(), Err((0, Flaw::NoWeight)));
    let mut deep = Tree::default();
    let mut last = deep.add(Kind::Negate).unwrap();
    for _ in 0..DEPTH_MAX {
        let child = deep.add(Kind::Negate).unwrap();
        deep.adopt(last, child, 1);
        last = child;
    }
    let leaf = deep.add(Kind::Leaf).unwrap();
    deep.adopt(last, leaf, 1);
    assert!(matches!(deep.check(), Err((_, Flaw::TooDeep))));
}
