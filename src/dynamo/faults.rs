//! [`Faults`]: makes any store as unreliable as a network, on purpose.
//!
//! It wraps the HTTP client under the SDK, so everything above, the SDK's retries included, is what runs in
//! production. What happens to a request comes from three sources, in this order: a switch (the store is
//! away, or slow), a script (what to do with the next ones), and a plan drawn from a seed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::dynamo::around::{Passing, around};

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// Refused, because there are too many requests. Not applied.
    Throttle,
    /// A write is refused because of another transaction. Not applied. Reads pass.
    Conflict,
    /// The store fails with 500 before it did anything.
    Fail,
    /// There is no connection. Not applied, and the client knows it.
    Cut,
    /// The connection breaks before the request arrives. Not applied, and the client cannot know.
    LoseRequest,
    /// The connection breaks before the reply arrives. Applied.
    LoseReply,
    /// The connection breaks, and the request arrives after the next few. Applied late.
    ArriveLate,
    /// An eventually consistent read is answered as it was when it first met this fault. Other requests
    /// pass.
    Stale,
    /// Takes this many milliseconds longer.
    Delay(u64),
}

/// How many requests of a thousand meet each fault; the rest pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub throttle: u32,
    pub conflict: u32,
    pub fail: u32,
    pub cut: u32,
    pub lose_request: u32,
    pub lose_reply: u32,
    pub arrive_late: u32,
    pub stale: u32,
    pub delay: u32,
}

impl Rates {
    /// One request in four meets something.
    pub const STORMY: Self = Self {
        throttle: 30,
        conflict: 40,
        fail: 20,
        cut: 30,
        lose_request: 30,
        lose_reply: 60,
        arrive_late: 20,
        stale: 20,
        delay: 10,
    };

    /// Everything this many times as often.
    pub fn times(self, n: u32) -> Self {
        Self {
            throttle: self.throttle * n,
            conflict: self.conflict * n,
            fail: self.fail * n,
            cut: self.cut * n,
            lose_request: self.lose_request * n,
            lose_reply: self.lose_reply * n,
            arrive_late: self.arrive_late * n,
            stale: self.stale * n,
            delay: self.delay * n,
        }
    }

    fn draw(&self, rng: &mut StdRng) -> Fault {
        let mut rest = rng.random_range(0..1_000);
        let faults = [
            (self.throttle, Fault::Throttle),
            (self.conflict, Fault::Conflict),
            (self.fail, Fault::Fail),
            (self.cut, Fault::Cut),
            (self.lose_request, Fault::LoseRequest),
            (self.lose_reply, Fault::LoseReply),
            (self.arrive_late, Fault::ArriveLate),
            (self.stale, Fault::Stale),
            (self.delay, Fault::Delay(rng.random_range(1..=DELAY_MAX_MS))),
        ];
        for (rate, fault) in faults {
            if rest < rate {
                return fault;
            }
            rest -= rate;
        }
        Fault::Pass
    }
}

/// Delays of a plan are short: they are there to change the order of things, not to be waited for.
const DELAY_MAX_MS: u64 = 5;

/// A late request arrives after at most this many others.
const LATE_AFTER_MAX: usize = 4;

/// The switches, the script and the plan. Cloning gives another handle to the same.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    away: bool,
    frozen: Frozen,
    /// The shortest and the longest.
    slow: Option<(Duration, Duration)>,
    script: VecDeque<Fault>,
    plan: Option<(StdRng, Rates)>,
    late: Vec<Late>,
    /// The answers to eventually consistent reads when they first met `Stale`.
    read_before: HashMap<Vec<u8>, Vec<u8>>,
    met: HashMap<Fault, u64>,
}

/// Whether the process behind this connection stands still.
struct Frozen(watch::Sender<bool>);

impl Default for Frozen {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

struct Late {
    after: usize,
    connector: SharedHttpConnector,
    request: HttpRequest,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Faults {
    /// Everything passes, until told otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store cannot be reached, or can again.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// The process stands still, or goes on: it sends nothing and hears no reply. A process that never goes
    /// on has crashed.
    pub fn set_frozen(&self, frozen: bool) {
        self.state().frozen.0.send_replace(frozen);
    }

    async fn thawed(&self) {
        let mut frozen = self.state().frozen.0.subscribe();
        // The sender lives in the state, and the state as long as this handle.
        let _ = frozen.wait_for(|frozen| !frozen).await;
    }

    /// Every request takes this much longer.
    pub fn set_slow(&self, by: Option<Duration>) {
        self.set_slow_between(by.map(|by| (by, by)));
    }

    /// Every request takes longer, by a time between these two.
    pub fn set_slow_between(&self, by: Option<(Duration, Duration)>) {
        self.state().slow = by;
    }

    /// What happens to the next requests, one after the other. `Pass` leaves one alone.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().script.extend(faults);
    }

    /// From now on each request meets what the seed says.
    pub fn plan(&self, seed: u64, rates: Rates) {
        self.state().plan = Some((StdRng::seed_from_u64(seed), rates));
    }

    /// Everything passes again. Requests that are still under way stay so; see [`Faults::deliver_late`].
    pub fn calm(&self) {
        let mut state = self.state();
        (state.away, state.slow, state.plan) = (false, None, None);
        state.script.clear();
    }

    /// Lets all requests arrive that are still under way.
    pub async fn deliver_late(&self) {
        let late = std::mem::take(&mut self.state().late);
        for late in late {
            // Whatever the answer is, nobody waits for it any more.
            let _ = late.connector.call(late.request).await;
        }
    }

    /// How many requests met this fault; for delays, whatever their length.
    pub fn met(&self, fault: Fault) -> u64 {
        self.state().met.get(&counted(fault)).copied().unwrap_or_default()
    }

    /// This client with these faults.
    pub fn around(&self, client: SharedHttpClient) -> SharedHttpClient {
        around(client, self.clone())
    }

    fn next(&self) -> (Fault, Option<Duration>, Vec<Late>) {
        let mut state = self.state();
        for late in &mut state.late {
            late.after = late.after.saturating_sub(1);
        }
        let (arriving, late) = state.late.drain(..).partition(|late| late.after == 0);
        state.late = late;
        let fault = if state.away { Fault::Cut } else { state.draw() };
        *state.met.entry(counted(fault)).or_default() += 1;
        let slow = state.slow.map(|(least, most)| match &mut state.plan {
            Some((rng, _)) if least < most => rng.random_range(least..=most),
            _ => least,
        });
        (fault, slow, arriving)
    }

    fn keep_for_later(&self, connector: SharedHttpConnector, request: HttpRequest) {
        let mut state = self.state();
        let after = match &mut state.plan {
            Some((rng, _)) => rng.random_range(1..=LATE_AFTER_MAX),
            None => 1,
        };
        state.late.push(Late { after, connector, request });
    }

    /// Remembers the first answer to a read, and gives it.
    fn first_answer(&self, question: Vec<u8>, answer: Vec<u8>) -> Vec<u8> {
        self.state().read_before.entry(question).or_insert(answer).clone()
    }
}

impl State {
    fn draw(&mut self) -> Fault {
        if let Some(fault) = self.script.pop_front() {
            return fault;
        }
        self.plan.as_mut().map_or(Fault::Pass, |(rng, rates)| rates.draw(rng))
    }
}

fn counted(fault: Fault) -> Fault {
    if let Fault::Delay(_) = fault { Fault::Delay(0) } else { fault }
}

impl Passing for Faults {
    fn pass(&self, connector: &SharedHttpConnector, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, faults) = (connector.clone(), self.clone());
        HttpConnectorFuture::new(async move { faults.meet(connector, request).await })
    }
}

impl Faults {
    async fn meet(
        &self,
        connector: SharedHttpConnector,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        self.thawed().await;
        let (fault, slow, arriving) = self.next();
        for late in arriving {
            // Whatever the answer is, nobody waits for it any more.
            let _ = late.connector.call(late.request).await;
        }
        let answer = self.meet_fault(fault, slow, connector, request).await;
        self.thawed().await;
        answer
    }

    async fn meet_fault(
        &self,
        fault: Fault,
        slow: Option<Duration>,
        connector: SharedHttpConnector,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        match fault {
            Fault::Pass => connector.call(request).await,
            Fault::Throttle => Ok(refused(400, "ProvisionedThroughputExceededException", json!({}))),
            Fault::Fail => Ok(refused(500, "InternalServerError", json!({}))),
            Fault::Conflict => match conflict(&request) {
                Some(response) => Ok(response),
                None => connector.call(request).await,
            },
            Fault::Cut => Err(broken(io::ErrorKind::ConnectionRefused)),
            Fault::LoseRequest => Err(broken(io::ErrorKind::ConnectionReset)),
            Fault::LoseReply => {
                connector.call(request).await?;
                Err(broken(io::ErrorKind::ConnectionReset))
            }
            Fault::ArriveLate => {
                self.keep_for_later(connector, request);
                Err(broken(io::ErrorKind::ConnectionReset))
            }
            Fault::Stale => self.stale(connector, request).await,
            Fault::Delay(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                connector.call(request).await
            }
        }
    }

    async fn stale(
        &self,
        connector: SharedHttpConnector,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let question = request.body().bytes().unwrap_or_default().to_vec();
        let eventual = contents(&request).get("ConsistentRead") == Some(&Value::Bool(false));
        let response = connector.call(request).await?;
        match response.body().bytes() {
            Some(answer) if eventual && response.status().is_success() => {
                let answer = self.first_answer(question, answer.to_vec());
                Ok(HttpResponse::new(response.status(), SdkBody::from(answer)))
            }
            _ => Ok(response),
        }
    }
}

fn broken(kind: io::ErrorKind) -> ConnectorError {
    ConnectorError::io(Box::new(io::Error::from(kind)))
}

fn contents(request: &HttpRequest) -> Value {
    let body = request.body().bytes().unwrap_or_default();
    serde_json::from_slice(body).unwrap_or_default()
}

/// A refusal as DynamoDB writes it.
fn refused(status: u16, code: &str, more: Value) -> HttpResponse {
    let mut body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": code });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    let status = status.try_into().expect("these are HTTP's own");
    HttpResponse::new(status, SdkBody::from(body.to_string()))
}

/// `None` for a request that no transaction can be in the way of.
fn conflict(request: &HttpRequest) -> Option<HttpResponse> {
    let operation = request.headers().get("x-amz-target").unwrap_or_default();
    match operation.trim_start_matches("DynamoDB_20120810.") {
        "TransactWriteItems" => {
            let contents = contents(request);
            let writes = contents["TransactItems"].as_array().map_or(1, Vec::len);
            let reason = |place| if place == 0 { "TransactionConflict" } else { "None" };
            let reasons: Vec<_> = (0..writes).map(|place| json!({ "Code": reason(place) })).collect();
            Some(refused(400, "TransactionCanceledException", json!({ "CancellationReasons": reasons })))
        }
        "PutItem" | "UpdateItem" | "DeleteItem" => {
            Some(refused(400, "TransactionConflictException", json!({})))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::testing::{engine, over};
    use crate::dynamo::{
        Column, Commit, Condition, Dynamo, Error, Table, TableSpec, Token, Transaction, Update, Updated,
    };

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Claim {
        name: String,
        by: u64,
        #[serde(default)]
        count: u64,
    }

    impl Table for Claim {
        const NAME: &'static str = "claim";
        const KEY: &'static [&'static str] = &["name"];
        type Key = String;

        fn key(&self) -> String {
            self.name.clone()
        }
    }

    const TABLES: &[TableSpec] = &[TableSpec::of::<Claim>()];
    const BY: Column<Claim, u64> = Column::new("by");
    const COUNT: Column<Claim, u64> = Column::new("count");

    /// More than the SDK and the helper try.
    const FOR_LONG: usize = 1_000;

    fn claim(by: u64) -> Claim {
        Claim { name: "cat".to_owned(), by, count: 0 }
    }

    /// A store, what may happen to it, and a view of it to which nothing happens.
    async fn store() -> (Dynamo, Faults, Dynamo) {
        let engine = engine(TABLES).await;
        let faults = Faults::new();
        let dynamo = over(&engine, Clock::system(), &faults);
        (dynamo, faults, over(&engine, Clock::system(), &Faults::new()))
    }

    async fn stored(dynamo: &Dynamo) -> Option<Claim> {
        dynamo.get("cat".to_owned()).await.unwrap()
    }

    fn in_transaction(token: &str) -> Transaction {
        Transaction::new(Token::new(token)).put_if_absent(&claim(1))
    }

    #[tokio::test]
    async fn a_store_that_is_away_changes_nothing_and_says_so() {
        let (dynamo, faults, _) = store().await;
        faults.set_away(true);
        assert!(matches!(dynamo.get::<Claim>("cat".to_owned()).await, Err(Error::Unavailable(_))));
        assert!(matches!(dynamo.put(&claim(1)).await, Err(Error::Unavailable(_))));
        assert!(matches!(dynamo.put_if_absent(&claim(1)).await, Err(Error::Unavailable(_))));
        assert!(matches!(dynamo.delete::<Claim>("cat".to_owned()).await, Err(Error::Unavailable(_))));
        assert!(matches!(dynamo.transact(in_transaction("a")).await, Err(Error::Unavailable(_))));
        faults.calm();
        assert_eq!(stored(&dynamo).await, None);
    }

    #[tokio::test]
    async fn a_busy_store_is_asked_again_and_then_left_alone() {
        let (dynamo, faults, _) = store().await;
        faults.script([Fault::Throttle, Fault::Fail]);
        dynamo.put(&claim(1)).await.unwrap();
        faults.script([Fault::Throttle; FOR_LONG]);
        assert!(matches!(dynamo.put(&claim(2)).await, Err(Error::Throttled(_))));
        assert!(matches!(dynamo.transact(in_transaction("a")).await, Err(Error::Throttled(_))));
    }

    #[tokio::test]
    async fn a_put_whose_reply_was_lost_finds_its_own_record() {
        let (dynamo, faults, _) = store().await;
        faults.script([Fault::LoseReply]);
        assert!(dynamo.put_if_absent(&claim(1)).await.unwrap());
        assert!(!dynamo.put_if_absent(&claim(2)).await.unwrap());
        // Whether the lost attempt was refused, or applied and overwritten, nobody can tell.
        faults.script([Fault::LoseReply]);
        assert!(matches!(dynamo.put_if_absent(&claim(2)).await, Err(Error::Uncertain(_))));
    }

    #[tokio::test]
    async fn a_lost_request_is_uncertain_even_if_the_next_was_certainly_not_sent() {
        let (dynamo, faults, calm) = store().await;
        faults.script([Fault::LoseRequest]);
        faults.script([Fault::Cut; FOR_LONG]);
        assert!(matches!(dynamo.put(&claim(1)).await, Err(Error::Uncertain(_))));
        assert_eq!(stored(&calm).await, None);
        faults.calm();
        faults.script([Fault::LoseReply]);
        faults.script([Fault::Throttle; FOR_LONG]);
        assert!(matches!(dynamo.put(&claim(1)).await, Err(Error::Uncertain(_))));
        assert_eq!(stored(&calm).await, Some(claim(1)));
    }

    #[tokio::test]
    async fn an_update_whose_reply_was_lost_is_known_by_its_signature() {
        let (dynamo, faults, calm) = store().await;
        dynamo.put(&claim(1)).await.unwrap();
        let take = |by| Update::new().signed(BY, by).add(COUNT, 1).when(Condition::equals(BY, by - 1));
        faults.script([Fault::LoseReply]);
        let taken = dynamo.update("cat".to_owned(), take(2)).await.unwrap();
        assert_eq!(taken, Updated::Applied(Claim { count: 1, ..claim(2) }));
        // Without one, the second attempt is refused and the first may have been applied.
        let unsigned = Update::new().set(BY, 3).when(Condition::equals(BY, 2));
        faults.script([Fault::LoseReply]);
        assert!(matches!(dynamo.update("cat".to_owned(), unsigned).await, Err(Error::Uncertain(_))));
        assert_eq!(stored(&calm).await.unwrap().by, 3);
    }

    #[tokio::test]
    async fn what_a_delete_took_away_is_not_made_up() {
        let (dynamo, faults, calm) = store().await;
        dynamo.put(&claim(1)).await.unwrap();
        faults.script([Fault::LoseReply]);
        assert!(matches!(dynamo.delete::<Claim>("cat".to_owned()).await, Err(Error::Uncertain(_))));
        assert_eq!(stored(&calm).await, None);
    }

    #[tokio::test]
    async fn a_write_that_meets_a_transaction_is_tried_again() {
        let (dynamo, faults, calm) = store().await;
        faults.script([Fault::Conflict]);
        dynamo.put(&claim(1)).await.unwrap();
        faults.script([Fault::Conflict; 10]);
        let transaction = Transaction::new(Token::new("a")).put(&claim(2));
        assert_eq!(dynamo.transact(transaction).await.unwrap(), Commit::Done);
        assert_eq!(stored(&calm).await, Some(claim(2)));
        faults.script([Fault::Conflict; FOR_LONG]);
        let transaction = Transaction::new(Token::new("b")).put(&claim(3));
        assert!(matches!(dynamo.transact(transaction).await, Err(Error::Throttled(_))));
    }

    #[tokio::test]
    async fn a_transaction_is_confirmed_or_uncertain() {
        let (dynamo, faults, calm) = store().await;
        // More than the SDK tries.
        faults.script([Fault::LoseReply; 6]);
        assert_eq!(dynamo.transact(in_transaction("a")).await.unwrap(), Commit::Done);
        dynamo.delete::<Claim>("cat".to_owned()).await.unwrap();
        faults.script([Fault::LoseReply]);
        faults.script([Fault::Cut; FOR_LONG]);
        assert!(matches!(dynamo.transact(in_transaction("b")).await, Err(Error::Uncertain(_))));
        assert_eq!(stored(&calm).await, Some(claim(1)));
    }

    #[tokio::test]
    async fn an_eventual_read_may_be_stale_and_a_strong_one_never_is() {
        let (dynamo, faults, _) = store().await;
        let read = || dynamo.get_eventually::<Claim>("cat".to_owned());
        faults.script([Fault::Stale]);
        assert_eq!(read().await.unwrap(), None);
        dynamo.put(&claim(1)).await.unwrap();
        faults.script([Fault::Stale, Fault::Stale]);
        assert_eq!(read().await.unwrap(), None);
        assert_eq!(stored(&dynamo).await, Some(claim(1)));
        assert_eq!(read().await.unwrap(), Some(claim(1)));
    }

    #[tokio::test]
    async fn several_are_read_whole_or_not_at_all() {
        let (dynamo, faults, _) = store().await;
        dynamo.put(&claim(1)).await.unwrap();
        let read = || dynamo.get_all::<Claim>(["cat".to_owned(), "dog".to_owned()]);
        faults.script([Fault::LoseReply, Fault::Throttle, Fault::Conflict]);
        assert_eq!(read().await.unwrap(), [claim(1)]);
        faults.script([Fault::Throttle; FOR_LONG]);
        assert!(matches!(read().await, Err(Error::Throttled(_))));
        faults.calm();
        faults.set_away(true);
        assert!(matches!(read().await, Err(Error::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_frozen_process_hears_nothing_until_it_goes_on() {
        let (dynamo, faults, calm) = store().await;
        faults.set_frozen(true);
        let (record, put) = (claim(1), std::cell::Cell::new(false));
        let frozen = async {
            dynamo.put(&record).await.unwrap();
            put.set(true);
        };
        let others = async {
            assert_eq!((stored(&calm).await, put.get()), (None, false));
            faults.set_frozen(false);
        };
        tokio::join!(frozen, others);
        assert_eq!((stored(&calm).await, put.get()), (Some(claim(1)), true));
    }

    #[tokio::test]
    async fn a_late_request_arrives_after_others() {
        let (dynamo, faults, _) = store().await;
        faults.script([Fault::ArriveLate]);
        dynamo.put(&claim(1)).await.unwrap();
        assert_eq!(faults.met(Fault::ArriveLate), 1);
        dynamo.delete::<Claim>("cat".to_owned()).await.unwrap();
        faults.script([Fault::ArriveLate]);
        dynamo.put(&claim(2)).await.unwrap();
        assert_eq!(stored(&dynamo).await, Some(claim(2)));
        faults.deliver_late().await;
        assert_eq!(stored(&dynamo).await, Some(claim(2)));
    }
}
