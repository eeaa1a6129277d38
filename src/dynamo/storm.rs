//! Storms over single writes and transactions, each from a seed: what the helper says is true, whatever
//! happened on the way. `STORM_SEEDS=1000..9000` runs others than the usual ones, `MNEME_TEST_ENDPOINT` has them on
//! the engine at that address.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::dynamo::connect::{EMBEDDED_TIMEOUT, Store, StoreConfig, connect};
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::{Faults, Rates};
use crate::dynamo::testing::{IMPATIENT, engine, over};
use crate::dynamo::{
    Column, Commit, Condition, Dynamo, Error, Patience, Table, TableSpec, Token, Transaction, Update,
};

/// Storms wait most of the time, for pauses and for the engine.
const AT_ONCE: usize = 8;

/// The seeds to run; `usual` unless the environment says otherwise.
pub(crate) fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("STORM_SEEDS") else { return usual };
    let (from, to) = text.split_once("..").expect("STORM_SEEDS is like 0..300");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Runs a storm for each seed, several at a time.
pub(crate) async fn each_seed(usual: Range<u64>, storm: impl AsyncFn(u64)) {
    let seeds = seeds(usual);
    println!("seeds {seeds:?}");
    stream::iter(seeds).map(|seed| storm(seed)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
}

/// The engine that all instances share: one in this process, or tables of a storm's own on another.
enum Shore {
    Here(Embedded),
    There(Box<StoreConfig>),
}

impl Shore {
    async fn with(tables: &[TableSpec]) -> Self {
        let Ok(url) = std::env::var("MNEME_TEST_ENDPOINT") else { return Self::Here(engine(tables).await) };
        static SHORES: AtomicU32 = AtomicU32::new(0);
        let number = SHORES.fetch_add(1, Ordering::Relaxed);
        let mut config = StoreConfig::new(Store::Endpoint { url, region: None });
        config.table_prefix = format!("storm-{}-{number}-", std::process::id());
        // An engine that is only slow must not look like one more fault.
        config.patience = Patience { attempt: EMBEDDED_TIMEOUT, request: EMBEDDED_TIMEOUT, ..IMPATIENT };
        let shore = Self::There(Box::new(config));
        shore
            .handle(&Faults::new())
            .await
            .create_tables(tables)
            .await
            .expect("a new prefix takes new tables");
        shore
    }

    /// A handle as another process would have it, with faults of its own on the way.
    async fn handle(&self, faults: &Faults) -> Dynamo {
        match self {
            Self::Here(engine) => over(engine, Clock::system(), faults),
            Self::There(config) => {
                let config = StoreConfig { faults: Some(faults.clone()), ..(**config).clone() };
                connect(config).await.expect("connecting sends nothing").dynamo
            }
        }
    }
}

/// Handles to one engine, as several processes would have them, each with a storm of its own.
pub(crate) struct Sea {
    shore: Shore,
    faults: Vec<Faults>,
    pub(crate) instances: Vec<Dynamo>,
}

impl Sea {
    pub(crate) async fn stormy(tables: &[TableSpec], instances: usize, rng: &mut StdRng) -> Self {
        let shore = Shore::with(tables).await;
        let faults: Vec<_> = (0..instances).map(|_| Faults::new()).collect();
        let instances = join_all(faults.iter().map(|faults| shore.handle(faults))).await;
        for faults in &faults {
            faults.plan(rng.random(), Rates::STORMY.times(rng.random_range(1..=3)));
        }
        Self { shore, faults, instances }
    }

    /// Ends the storms, lets everything arrive that is under way, and gives a calm view of what is left.
    pub(crate) async fn calm(&self) -> Dynamo {
        for faults in &self.faults {
            faults.calm();
            faults.deliver_late().await;
        }
        self.shore.handle(&Faults::new()).await
    }
}

/// Reads what belongs together: a mark that every change moves, and the rest, while the mark stands still. A slow
/// engine may still be at work on a request that nobody waits for any more.
pub(crate) async fn settled<M: PartialEq, A>(mark: impl AsyncFn() -> M, rest: impl AsyncFn() -> A) -> (M, A) {
    loop {
        let before = mark().await;
        let read = rest().await;
        if mark().await == before {
            return (before, read);
        }
    }
}

/// What somebody was told about a write.
#[derive(Debug, PartialEq)]
enum Told {
    Done,
    NotDone,
    Unknown,
}

impl Told {
    fn from<A>(result: Result<A, Error>, done: impl Fn(&A) -> bool) -> Self {
        match result {
            Ok(answer) if done(&answer) => Self::Done,
            Err(error) if error.is_uncertain() => Self::Unknown,
            Ok(_) | Err(_) => Self::NotDone,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    name: String,
    sum: i64,
}

impl Table for Account {
    const NAME: &'static str = "account";
    const KEY: &'static [&'static str] = &["name"];
    type Key = String;

    fn key(&self) -> String {
        self.name.clone()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    number: u64,
    by: String,
}

impl Table for Receipt {
    const NAME: &'static str = "receipt";
    const KEY: &'static [&'static str] = &["number"];
    type Key = u64;

    fn key(&self) -> u64 {
        self.number
    }
}

const TABLES: &[TableSpec] = &[TableSpec::of::<Account>(), TableSpec::of::<Receipt>()];
const SUM: Column<Account, i64> = Column::new("sum");
const NAMES: [&str; 3] = ["a", "b", "c"];
const START: i64 = 2;
const TRANSFERS: u64 = 6;

#[derive(Clone, Copy)]
struct Transfer {
    number: u64,
    from: usize,
    to: usize,
}

async fn transfer(dynamo: &Dynamo, Transfer { number, from, to }: Transfer) -> Told {
    let take = Update::new().add(SUM, -1).when(Condition::greater(SUM, 0));
    let receipt = Receipt { number, by: NAMES[from].to_owned() };
    let transaction = Transaction::new(Token::new(number.to_string()))
        .put_if_absent(&receipt)
        .update::<Account>(NAMES[from].to_owned(), take)
        .update::<Account>(NAMES[to].to_owned(), Update::new().add(SUM, 1));
    Told::from(dynamo.transact(transaction).await, |commit| *commit == Commit::Done)
}

async fn transfers(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let sea = Sea::stormy(TABLES, 2, &mut rng).await;
    let calm = sea.shore.handle(&Faults::new()).await;
    for name in NAMES {
        calm.put(&Account { name: name.to_owned(), sum: START }).await.unwrap();
    }
    let mut deliveries = Vec::new();
    for number in 1..=TRANSFERS {
        let from = rng.random_range(0..3);
        let transfer = Transfer { number, from, to: (from + rng.random_range(1..3)) % 3 };
        for _ in 0..rng.random_range(1..=2) {
            deliveries.push((rng.random_range(0..2), transfer));
        }
    }
    let told = deliveries.iter().map(async |(instance, one)| transfer(&sea.instances[*instance], *one).await);
    let told = join_all(told).await;
    let calm = sea.calm().await;

    let receipts = async || {
        let numbers = 1..=TRANSFERS;
        join_all(numbers.map(async |number| calm.get::<Receipt>(number).await.unwrap().is_some())).await
    };
    let sums = async || {
        let sum = async |name: &&str| calm.get::<Account>((*name).to_owned()).await.unwrap().unwrap().sum;
        join_all(NAMES.iter().map(sum)).await
    };
    let (receipts, sums) = settled(receipts, sums).await;
    let mut expected: BTreeMap<_, _> = NAMES.iter().map(|name| (*name, START)).collect();
    for number in 1..=TRANSFERS {
        let of_it = |(_, one): &&(usize, Transfer)| one.number == number;
        let one = deliveries.iter().find(of_it).expect("each is delivered").1;
        let told: Vec<_> =
            deliveries.iter().zip(&told).filter(|(d, _)| of_it(d)).map(|(_, told)| told).collect();
        let done = receipts[number as usize - 1];
        if done {
            *expected.get_mut(NAMES[one.from]).unwrap() -= 1;
            *expected.get_mut(NAMES[one.to]).unwrap() += 1;
        }
        assert!(done || !told.contains(&&Told::Done), "seed {seed}: {number} was acknowledged: {told:?}");
        let denied = told.iter().all(|told| **told == Told::NotDone);
        assert!(!(done && denied), "seed {seed}: {number} was said not to be done: {told:?}");
    }
    for (name, sum) in NAMES.into_iter().zip(sums) {
        assert_eq!(sum, expected[name], "seed {seed}: {name} has what the receipts say");
        assert!(sum >= 0, "seed {seed}: nobody gives what they have not");
    }
}

#[tokio::test]
async fn no_storm_makes_or_loses_money() {
    each_seed(0..100, transfers).await;
}

async fn claims(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let sea = Sea::stormy(TABLES, 2, &mut rng).await;
    let receipt = |claimant: usize| Receipt { number: 1, by: claimant.to_string() };
    let told = join_all((0..4).map(async |claimant| {
        let answer = sea.instances[claimant % 2].put_if_absent(&receipt(claimant)).await;
        Told::from(answer, |won| *won)
    }));
    let told = told.await;
    let owner = sea.calm().await.get::<Receipt>(1).await.unwrap();
    for (claimant, told) in told.iter().enumerate() {
        let owns = owner == Some(receipt(claimant));
        match told {
            Told::Done => assert!(owns, "seed {seed}: {claimant} was told yes"),
            Told::NotDone => assert!(!owns, "seed {seed}: {claimant} was told no"),
            Told::Unknown => {}
        }
    }
}

#[tokio::test]
async fn no_storm_gives_one_thing_to_two() {
    each_seed(0..100, claims).await;
}
