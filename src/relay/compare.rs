//! The model of the tables against the tables: the same random steps in both, and what they say.

use crate::clock::Timestamp;
use crate::dynamo::testing::embedded;
use crate::relay::frame::{Lane, Reason};
use crate::relay::link::OutLane;
use crate::relay::model::Model;
use crate::relay::name::{BotName, Chain, EnvelopeId};
use crate::relay::store::{
    Change, Dead, Joining, Kept, Note, Out, Row, RowId, Step, Store, TABLES, Tables, Taken,
};

const STEPS: usize = 600;

/// Far enough ahead that nothing expires while the test runs.
const UNTIL: Timestamp = Timestamp::from_seconds(4_000_000_000);

struct Dice {
    chance: fastrand::Rng,
    steps: u64,
}

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.chance.u64(0..end)
    }

    fn peer(&mut self) -> BotName {
        BotName::new(["hub", "here"][self.chance.usize(0..2)]).unwrap()
    }

    fn out(&mut self) -> Out {
        if self.below(3) == 0 { Out::Here } else { Out::Link(self.peer(), Lane::Events) }
    }

    fn id(&mut self) -> EnvelopeId {
        EnvelopeId::of(&self.peer(), &self.below(400).to_string(), 0)
    }

    fn reason(&mut self) -> Reason {
        [Reason::Dropped, Reason::Expired][self.chance.usize(0..2)]
    }

    async fn joining(&mut self, model: &Model) -> Vec<Joining> {
        let mut all: Vec<Joining> = Vec::new();
        for _ in 0..self.below(3) {
            let out = self.out();
            let mut known = model.out_lane(&out).await.unwrap();
            if self.below(8) == 0 {
                known = known.map(|lane| OutLane { next: lane.next + 1, ..lane });
            }
            let most = if self.below(9) == 0 { 60 } else { 3 };
            let ids = (0..1 + self.below(most)).map(|_| (self.id(), UNTIL)).collect();
            if all.iter().all(|other| other.out != out) {
                all.push(Joining { out, known, epoch: 5, envelopes: ids });
            }
        }
        all
    }

    async fn change(&mut self, model: &Model) -> Change {
        // A change is never the same as one before, unlike here: the store would take it for a repeat.
        self.steps += 1;
        let mut steps = Vec::new();
        if self.below(2) == 0 {
            let (peer, lane) = (self.peer(), Lane::Events);
            let known = model.in_lane(&peer, lane).await.unwrap();
            let (epoch, number) = known.map_or((5, 0), |lane| (lane.epoch, lane.expected));
            let chain = Chain::start().after(&self.id());
            let number = number + u64::from(self.below(5) == 0);
            let next = number + 1 + self.below(3);
            steps.push(Step::Take(Taken { peer, lane, epoch, number, next, chain }));
        }
        // Of rows that were there once: nobody acts on what is still to come.
        let next = model.out_lane(&Out::Here).await.unwrap().map_or(0, |lane| lane.next);
        if next > 3 && self.below(2) == 0 {
            let first = self.below(next - 3);
            let numbers = first..=first + self.below(3);
            steps.push(Step::Done(numbers.map(|number| self.row(model, &Out::Here, number)).collect()));
        }
        let at = Timestamp::from_millis(1_234);
        // As much of an envelope as a store reads.
        let text = format!(r#"{{"step":{},"at":{},"until":{}}}"#, self.steps, at.millis(), UNTIL.millis());
        let (id, path) = (self.id(), vec![self.peer()]);
        let signature = (self.below(2) == 0).then(|| "signed".to_owned());
        let kept = Kept { id: id.clone(), text, signature, path, at, until: UNTIL };
        let envelopes = if self.below(4) > 0 { vec![(kept, Some(self.peer()))] } else { Vec::new() };
        let at = Timestamp::from_seconds(3_000_000_000);
        let (lane, reason, detail) = ("here".to_owned(), self.reason(), self.steps.to_string());
        let dead = vec![Dead { lane, at, id, reason, detail, text: None, signature: None, path: Vec::new() }];
        Change { steps, envelopes, joining: self.joining(model).await, dead, ..Change::default() }
    }

    /// A row as it was read, also if it is gone while others of its record are not; or one that never was.
    fn row(&self, model: &Model, out: &Out, number: u64) -> RowId {
        let records = model.records();
        let rows = records.rows.iter().filter(|((of, _), _)| of == out).map(|(_, row)| row.row);
        let mut records = rows.filter(|row| (row.first..row.first + row.count).contains(&number));
        records.next().map_or(RowId { number, first: number, count: 1 }, |row| RowId { number, ..row })
    }

    fn note(&mut self, model: &Model) -> Note {
        let (peer, lane) = (self.peer(), Lane::Events);
        let (epoch, number) = (5 + self.below(3), self.below(30));
        match self.below(6) {
            0 => Note::Adopt { peer, lane, epoch, expected: number },
            1 => Note::Behind { peer, lane, epoch, expected: number },
            2 => Note::Acked { out: self.out(), epoch, acked: number },
            3 => Note::Renew { out: self.out(), old: epoch, new: epoch + 1 },
            4 => {
                let due = Timestamp::from_millis(1_000 * i64::try_from(number).unwrap());
                Note::Again {
                    row: self.row(model, &Out::Here, number),
                    tries: 1 + u32::try_from(self.below(4)).unwrap(),
                    due,
                }
            }
            _ => {
                let (out, reason) = (self.out(), self.reason());
                Note::Skip { row: self.row(model, &out, number), out, reason }
            }
        }
    }
}

type Everything = (Vec<Option<OutLane>>, Vec<Option<crate::relay::link::InLane>>, Vec<Vec<Row>>);

async fn everything(store: &impl Store) -> Everything {
    let peers = ["hub", "here"].map(|name| BotName::new(name).unwrap());
    let mut found = Everything::default();
    for peer in &peers {
        found.1.push(store.in_lane(peer, Lane::Events).await.unwrap());
    }
    for out in peers.map(|peer| Out::Link(peer, Lane::Events)).into_iter().chain([Out::Here]) {
        found.0.push(store.out_lane(&out).await.unwrap());
        for (from, limit) in [(0, 1), (2, 40), (7, 5), (30, 200)] {
            found.2.push(store.rows(&out, from, limit).await.unwrap());
        }
    }
    found
}

#[tokio::test]
async fn the_model_does_what_the_tables_do() {
    let seed = fastrand::u64(0..1_000_000);
    println!("seed {seed}");
    let mut dice = Dice { chance: fastrand::Rng::with_seed(seed), steps: 0 };
    let (tables, model) = (Tables(embedded(TABLES).await), Model::default());
    for step in 0..STEPS {
        if dice.below(3) == 0 {
            let note = dice.note(&model);
            let said = (tables.note(&note).await.unwrap(), model.note(&note).await.unwrap());
            assert_eq!(said.0, said.1, "seed {seed}, step {step}: {note:?}");
        } else {
            let change = dice.change(&model).await;
            let said = (tables.write(&change).await.unwrap(), model.write(&change).await.unwrap());
            assert_eq!(said.0, said.1, "seed {seed}, step {step}: {change:?}");
            for (kept, _) in &change.envelopes {
                let kept = (tables.kept(&kept.id).await.unwrap(), model.kept(&kept.id).await.unwrap());
                assert_eq!(kept.0, kept.1, "seed {seed}, step {step}");
            }
        }
        if step % 25 == 24 {
            assert_eq!(everything(&tables).await, everything(&model).await, "seed {seed}, step {step}");
        }
    }
    let dead = model.records().dead.len();
    assert!(dead > 10, "too little happened");
    assert_eq!(tables.dead("here", 1).await.unwrap().len(), 1);
}

/// Two processes of a bot do the same step, and one of them gets no answer: it is done once.
#[tokio::test]
async fn the_same_change_twice_is_done_once() {
    let tables = Tables(embedded(TABLES).await);
    let id = EnvelopeId::of(&BotName::new("hub").unwrap(), "x", 0);
    let joining = Joining { out: Out::Here, known: None, epoch: 5, envelopes: vec![(id, UNTIL)] };
    let change = Change { joining: vec![joining], ..Change::default() };
    tables.write(&change).await.unwrap();
    tables.write(&change).await.unwrap();
    assert_eq!(tables.out_lane(&Out::Here).await.unwrap().unwrap().next, 1);
}
