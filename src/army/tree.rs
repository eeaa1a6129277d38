//! Behaviour trees: an immutable [`Tree`] that all soldiers share, and the [`Cursor`] that each of them holds.
//!
//! A cursor rests on one leaf, or on a guard that is being taken or given back. What it asks for next is a
//! [`Step`]; whoever runs the soldier does that, and tells how it ended. Moving on is pure and synchronous:
//! chance, time and counts come from [`World`], so the same answers give the same path.

use std::time::Duration;

/// How deep a tree may be after its subtrees are put in.
pub const DEPTH_MAX: usize = 64;

/// How many nodes a tree may have after its subtrees are put in.
pub const NODES_MAX: usize = 10_000;

/// The place of a node in its tree.
pub type NodeId = u32;

/// What a node does with its children. What it needs from a file's templates (a count, a pause) is asked of the
/// [`World`] at every visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs an action.
    Leaf,
    Sequence,
    Select,
    /// One child, each as likely as the others.
    Random,
    /// One child, by the weights of [`Node::weights`].
    RandomWeighted,
    RepeatN,
    RepeatUntilSucceed,
    RepeatUntilFail,
    AlwaysSucceed,
    AlwaysFail,
    Negate,
    Retry,
    Eventually,
    Timeout,
    Pace,
    Once,
    /// The child of the soldier's role.
    ByRole,
    /// A named tree put in here.
    Subtree,
    /// Something that is taken before the child and given back after it: a lock, a permit, an account, the
    /// turn to create.
    Guard,
}

/// One node, with the places of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub children: Vec<NodeId>,
    /// Of [`Kind::RandomWeighted`], one for each child.
    pub weights: Vec<u32>,
    /// The place of what the soldier remembers about this node from visit to visit.
    memory: Option<u32>,
}

/// A compiled tree: nodes by number, the root is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
    memories: u32,
}

/// Why a tree is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("{0:?} needs a child")]
    NoChild(Kind),
    #[error("{0:?} takes one child")]
    ManyChildren(Kind),
    #[error("a weight is a number above 0")]
    NoWeight,
    #[error("more than {NODES_MAX} nodes")]
    TooManyNodes,
    #[error("deeper than {DEPTH_MAX}")]
    TooDeep,
}

impl Tree {
    /// Adds a node and gives its number. Parents come before their children: add a node, then its children
    /// with [`Tree::adopt`].
    pub fn add(&mut self, kind: Kind) -> Result<NodeId, Flaw> {
        if self.nodes.len() >= NODES_MAX {
            return Err(Flaw::TooManyNodes);
        }
        let memory = matches!(kind, Kind::Once | Kind::Pace).then(|| {
            self.memories += 1;
            self.memories - 1
        });
        self.nodes.push(Node { kind, children: Vec::new(), weights: Vec::new(), memory });
        Ok(self.nodes.len() as NodeId - 1)
    }

    /// Makes one node the next child of another.
    pub fn adopt(&mut self, parent: NodeId, child: NodeId, weight: u32) {
        let parent = &mut self.nodes[parent as usize];
        parent.children.push(child);
        parent.weights.push(weight);
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).zip(&self.nodes)
    }

    /// Whether every node has the children that its kind needs.
    pub fn check(&self) -> Result<(), (NodeId, Flaw)> {
        for (id, node) in self.nodes() {
            node.check().map_err(|flaw| (id, flaw))?;
        }
        self.check_depth()
    }

    fn check_depth(&self) -> Result<(), (NodeId, Flaw)> {
        let mut open: Vec<(NodeId, usize)> = vec![(0, 1)];
        while let Some((id, depth)) = open.pop() {
            if depth > DEPTH_MAX {
                return Err((id, Flaw::TooDeep));
            }
            open.extend(self.node(id).children.iter().map(|child| (*child, depth + 1)));
        }
        Ok(())
    }
}

impl Node {
    fn check(&self) -> Result<(), Flaw> {
        match (self.kind, self.children.len()) {
            (Kind::Leaf, 0) => Ok(()),
            (Kind::Leaf, _) => Err(Flaw::ManyChildren(self.kind)),
            (_, 0) => Err(Flaw::NoChild(self.kind)),
            (Kind::RandomWeighted, _) if self.weights.contains(&0) => Err(Flaw::NoWeight),
            (Kind::Sequence | Kind::Select | Kind::Random | Kind::RandomWeighted | Kind::ByRole, _) => Ok(()),
            (_, 1) => Ok(()),
            _ => Err(Flaw::ManyChildren(self.kind)),
        }
    }
}

/// What a cursor does not know by itself.
pub trait World {
    /// Time since the run began.
    fn now(&self) -> Duration;
    /// A number below this one, each as likely as the others.
    fn draw(&mut self, below: u32) -> u32;
    /// How often a `repeat_n` runs its child, and a `retry` at most; drawn at every entry.
    fn times(&mut self, node: NodeId) -> u32;
    /// How long the pause of a `retry`, an `eventually` or a `pace` is; drawn at every pause.
    fn pause(&mut self, node: NodeId) -> Duration;
    /// How long an `eventually` or a `timeout` has; drawn at every entry.
    fn limit(&mut self, node: NodeId) -> Duration;
    /// Which child of a `by_role` is the soldier's.
    fn role(&mut self, node: NodeId) -> Option<usize>;
    /// A subtree is entered: its parameters are evaluated once, here.
    fn enters(&mut self, _subtree: NodeId) {}
    /// A visit of a `pace` was meant to begin then.
    fn paced(&mut self, _node: NodeId, _at: Duration) {}
    /// A `pace` came too late for this many of its times.
    fn late(&mut self, node: NodeId, missed: u32);
}

/// What a soldier does next. Each has its own way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run the action of this leaf, then [`Cursor::resolve`].
    Run(NodeId),
    /// Wait until then, then [`Cursor::resume`].
    Pause(NodeId, Duration),
    /// Take what this guard guards, then [`Cursor::taken`].
    Take(NodeId),
    /// The child ended like this: give back, then [`Cursor::given_back`].
    GiveBack(NodeId, bool),
    /// The root ended like this.
    End(bool),
}

/// What became of taking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is ours: on to the child.
    Enter,
    /// The node ends like this without its child.
    Skip(bool),
}

/// Where one soldier is in its tree.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// From the root to the leaf.
    frames: Vec<Frame>,
    memories: Vec<Memory>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    node: NodeId,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Plain,
    /// Which child runs.
    Child(u32),
    /// How many runs are left, this one included.
    Left(u32),
    /// Until when.
    Until(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
enum Memory {
    #[default]
    New,
    Ended(bool),
    /// Of a pace: its start, and which of its times comes next.
    Paced(Duration, u32),
}

/// Where a move goes.
enum Move {
    Down(NodeId),
    Up(bool),
    Stay(Step),
}

impl Cursor {
    /// Starts at the root. What the soldier remembers from visit to visit stays.
    pub fn start(&mut self, tree: &Tree, world: &mut impl World) -> Step {
        self.frames.clear();
        self.memories.resize(tree.memories as usize, Memory::New);
        self.go(tree, Move::Down(0), world)
    }

    /// The action of the leaf ended.
    pub fn resolve(&mut self, tree: &Tree, succeeded: bool, world: &mut impl World) -> Step {
        self.frames.pop();
        self.go(tree, Move::Up(succeeded), world)
    }

    /// The pause is over.
    pub fn resume(&mut self, tree: &Tree, world: &mut impl World) -> Step {
        let down = self.only_child(tree);
        self.go(tree, down, world)
    }

    /// The guard has been tried.
    pub fn taken(&mut self, tree: &Tree, taken: Taken, world: &mut impl World) -> Step {
        let on = match taken {
            Taken::Enter => self.only_child(tree),
            Taken::Skip(succeeded) => {
                self.frames.pop();
                Move::Up(succeeded)
            }
        };
        self.go(tree, on, world)
    }

    /// What was taken is given back, and the node ends like this.
    pub fn given_back(&mut self, tree: &Tree, succeeded: bool, world: &mut impl World) -> Step {
        self.frames.pop();
        self.go(tree, Move::Up(succeeded), world)
    }

    /// When the time of a `timeout` around the leaf is over, if there is one.
    pub fn deadline(&self, tree: &Tree) -> Option<Duration> {
        let timeouts = self.frames.iter().filter(|frame| tree.node(frame.node).kind == Kind::Timeout);
        timeouts.filter_map(Frame::until).min()
    }

    /// The deadline has passed: everything below the outermost `timeout` that is over is left, its guards
    /// (innermost first) are to be dropped, and that node fails.
    pub fn expire(&mut self, tree: &Tree, world: &mut impl World) -> (Vec<NodeId>, Step) {
        let now = world.now();
        let is_over = |frame: &Frame| {
            tree.node(frame.node).kind == Kind::Timeout && frame.until().is_some_and(|until| until <= now)
        };
        let place = self.frames.iter().position(is_over).expect("only a deadline that passed expires");
        let left = self.frames.drain(place..).rev();
        let guards = left.map(|frame| frame.node).filter(|id| tree.node(*id).kind == Kind::Guard).collect();
        (guards, self.go(tree, Move::Up(false), world))
    }

    /// What `guard` guarded is lost: its action is dropped, the guards inside it are to be dropped, and the node
    /// fails.
    pub fn lose(&mut self, tree: &Tree, guard: NodeId, world: &mut impl World) -> (Vec<NodeId>, Step) {
        let place = self.frames.iter().position(|frame| frame.node == guard);
        let place = place.expect("only a guard that is held is lost");
        let inside = self.frames.drain(place..).rev();
        let guards = inside.map(|frame| frame.node).filter(|id| tree.node(*id).kind == Kind::Guard).collect();
        (guards, self.go(tree, Move::Up(false), world))
    }

    /// The nodes from the root to the leaf, each with the place of its child on the way.
    pub fn path(&self) -> impl Iterator<Item = NodeId> {
        self.frames.iter().map(|frame| frame.node)
    }

    /// In which pass the innermost repeat is, from 0.
    pub fn pass(&self, tree: &Tree) -> Option<(NodeId, u32)> {
        self.frames.iter().rev().find_map(|frame| match (tree.node(frame.node).kind, frame.state) {
            (Kind::RepeatN, State::Left(left)) => Some((frame.node, left)),
            _ => None,
        })
    }

    fn only_child(&self, tree: &Tree) -> Move {
        let frame = self.frames.last().expect("a node that waits is on the path");
        Move::Down(tree.node(frame.node).children[0])
    }

    fn go(&mut self, tree: &Tree, mut next: Move, world: &mut impl World) -> Step {
        loop {
            next = match next {
                Move::Down(id) => self.enter(tree, id, world),
                Move::Up(succeeded) => self.leave(tree, succeeded, world),
                Move::Stay(step) => return step,
            }
        }
    }

    fn enter(&mut self, tree: &Tree, id: NodeId, world: &mut impl World) -> Move {
        let node = tree.node(id);
        let children = node.children.len() as u32;
        let (state, child) = match node.kind {
            Kind::Leaf => {
                self.push(id, State::Plain);
                return Move::Stay(Step::Run(id));
            }
            Kind::Guard => {
                self.push(id, State::Plain);
                return Move::Stay(Step::Take(id));
            }
            Kind::Sequence | Kind::Select => (State::Child(0), 0),
            Kind::Random => (State::Plain, world.draw(children)),
            Kind::RandomWeighted => (State::Plain, weighted(&node.weights, world)),
            Kind::RepeatN => match world.times(id) {
                0 => return Move::Up(true),
                times => (State::Left(times), 0),
            },
            Kind::Retry => match world.times(id) {
                0 => return Move::Up(false),
                times => (State::Left(times), 0),
            },
            Kind::Eventually | Kind::Timeout => (State::Until(world.now() + world.limit(id)), 0),
            Kind::ByRole => match world.role(id) {
                Some(child) => (State::Plain, child as u32),
                None => return Move::Up(true),
            },
            Kind::Once => match self.memory(node) {
                Memory::Ended(succeeded) => return Move::Up(*succeeded),
                _ => (State::Plain, 0),
            },
            Kind::Pace => return self.pace(node, id, world),
            Kind::Subtree => {
                world.enters(id);
                (State::Plain, 0)
            }
            Kind::RepeatUntilSucceed
            | Kind::RepeatUntilFail
            | Kind::AlwaysSucceed
            | Kind::AlwaysFail
            | Kind::Negate => (State::Plain, 0),
        };
        self.push(id, state);
        Move::Down(node.children[child as usize])
    }

    /// The k-th visit begins at `start + k x every`. Times that have passed are counted, not caught up.
    fn pace(&mut self, node: &Node, id: NodeId, world: &mut impl World) -> Move {
        let (now, every) = (world.now(), world.pause(id));
        let (start, k) = match self.memory(node) {
            Memory::Paced(start, k) => (*start, *k),
            _ => (now, 0),
        };
        let passed = match every.as_nanos() {
            0 => k,
            every => u32::try_from((now - start).as_nanos() / every).unwrap_or(u32::MAX),
        };
        let at = start + every * k;
        // On time is up to the next time; after that the next one is waited for.
        let (missed, k) = if passed > k { (passed - k, passed) } else { (0, k) };
        if missed > 0 {
            world.late(id, missed);
        }
        world.paced(id, at);
        *self.memory(node) = Memory::Paced(start, k.saturating_add(1));
        self.push(id, State::Plain);
        if at > now { Move::Stay(Step::Pause(id, at)) } else { Move::Down(node.children[0]) }
    }

    /// A child of the innermost open node ended.
    fn leave(&mut self, tree: &Tree, succeeded: bool, world: &mut impl World) -> Move {
        let Some(&Frame { node: id, state }) = self.frames.last() else {
            return Move::Stay(Step::End(succeeded));
        };
        let node = tree.node(id);
        let ended = match (node.kind, state) {
            (Kind::Sequence, State::Child(child)) if succeeded => return self.next_child(node, child, true),
            (Kind::Select, State::Child(child)) if !succeeded => return self.next_child(node, child, false),
            (Kind::RepeatN, State::Left(left)) => {
                if left > 1 {
                    return self.again(node, State::Left(left - 1));
                }
                true
            }
            (Kind::RepeatUntilSucceed, _) if !succeeded => return self.again(node, state),
            (Kind::RepeatUntilFail, _) if succeeded => return self.again(node, state),
            (Kind::Retry, State::Left(left)) if !succeeded && left > 1 => {
                self.set(State::Left(left - 1));
                return Move::Stay(Step::Pause(id, world.now() + world.pause(id)));
            }
            (Kind::Eventually, State::Until(until)) if !succeeded && world.now() < until => {
                return Move::Stay(Step::Pause(id, world.now() + world.pause(id)));
            }
            (Kind::Guard, _) => return Move::Stay(Step::GiveBack(id, succeeded)),
            (Kind::Once, _) => {
                *self.memory(node) = Memory::Ended(succeeded);
                succeeded
            }
            (Kind::RepeatUntilSucceed | Kind::RepeatUntilFail | Kind::AlwaysSucceed, _) => true,
            (Kind::AlwaysFail, _) => false,
            (Kind::Negate, _) => !succeeded,
            _ => succeeded,
        };
        self.frames.pop();
        Move::Up(ended)
    }

    fn next_child(&mut self, node: &Node, child: u32, ended: bool) -> Move {
        match node.children.get(child as usize + 1) {
            Some(next) => {
                self.set(State::Child(child + 1));
                Move::Down(*next)
            }
            None => {
                self.frames.pop();
                Move::Up(ended)
            }
        }
    }

    fn again(&mut self, node: &Node, state: State) -> Move {
        self.set(state);
        Move::Down(node.children[0])
    }

    fn push(&mut self, node: NodeId, state: State) {
        self.frames.push(Frame { node, state });
    }

    fn set(&mut self, state: State) {
        self.frames.last_mut().expect("a node that goes on is on the path").state = state;
    }

    fn memory(&mut self, node: &Node) -> &mut Memory {
        let place = node.memory.expect("nodes that remember have a place for it");
        &mut self.memories[place as usize]
    }
}

impl Frame {
    fn until(&self) -> Option<Duration> {
        match self.state {
            State::Until(until) => Some(until),
            _ => None,
        }
    }
}

/// The child whose share of all weights is drawn.
fn weighted(weights: &[u32], world: &mut impl World) -> u32 {
    let mut drawn = world.draw(weights.iter().sum());
    let mut child = 0;
    while drawn >= weights[child as usize] {
        drawn -= weights[child as usize];
        child += 1;
    }
    child
}

#[cfg(test)]
mod tests;
