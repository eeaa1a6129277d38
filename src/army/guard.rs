//! What the guards of a tree hold: locks, permits, elements of a pool, the turn to create a value.

use std::time::Duration;

use futures::future::select_all;
use serde_json::{Map, Value};

use crate::army::action::Args;
use crate::army::tree::NodeId;
use crate::shared::{
    Begun, CheckedOut, CreateError, CreateOptions, Creation, Lease, LeaseOptions, Permit, SharedData, Who,
};

/// The argument of `get_or_create` that is evaluated after its child.
pub const LATER: &str = "value";

/// How long `make` may be silent before another soldier takes over; it is renewed as long as that one lives.
const CREATION_TTL: Duration = Duration::from_secs(10);

/// Something that was taken and is to be given back. Dropped, it is given back in the background.
pub enum Held {
    Lock(Lease),
    Permit(Permit),
    Element(CheckedOut<Value>),
    Creation { creation: Creation<Value>, shared: SharedData, key: String, into: Option<String> },
}

/// What came of taking.
pub enum Took {
    /// It is held from now on.
    Held { held: Held, updates: Map<String, Value> },
    /// The value is there already.
    There { updates: Map<String, Value> },
}

/// Takes what a guard guards; why not, where it could not be had.
pub async fn take(shared: &SharedData, guard: &str, who: &Who, args: &Args) -> Result<Took, String> {
    match guard {
        "with_lock" => {
            let lease = shared.lock(args.text("key"), lease_options(args)).await;
            lease.map(|lease| held(Held::Lock(lease))).map_err(|error| error.to_string())
        }
        "with_permit" => {
            let max = usize::try_from(args.integer("max")).map_err(|_| "`max` is below 0".to_owned())?;
            let permit = shared.permit(args.text("name"), max, who, lease_options(args)).await;
            permit.map(|permit| held(Held::Permit(permit))).map_err(|error| error.to_string())
        }
        "with_checkout" => {
            let element = shared.checkout::<Value>(args.text("pool"), who, lease_options(args)).await;
            let element = element.map_err(|error| error.to_string())?;
            let updates = one(args.text("into"), element.value().clone());
            Ok(Took::Held { held: Held::Element(element), updates })
        }
        _ => create(shared, args).await,
    }
}

fn held(held: Held) -> Took {
    Took::Held { held, updates: Map::new() }
}

fn one(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

fn into_map(into: Option<&str>, value: Value) -> Map<String, Value> {
    into.map(|name| one(name, value)).unwrap_or_default()
}

fn lease_options(args: &Args) -> LeaseOptions {
    LeaseOptions {
        ttl: args.duration("ttl"),
        wait: args.duration("wait"),
        max_hold: args.maybe_duration("max_hold"),
        ..LeaseOptions::default()
    }
}

async fn create(shared: &SharedData, args: &Args) -> Result<Took, String> {
    let ttl = args.maybe_duration("ttl").unwrap_or(CREATION_TTL);
    let options = CreateOptions { ttl, within: args.duration("within") };
    let (key, into) = (args.text("key").to_owned(), args.maybe_text("into").map(str::to_owned));
    match shared.begin_create::<Value>(&key, options).await {
        Ok(Begun::Ready(value)) => Ok(Took::There { updates: into_map(into.as_deref(), value) }),
        Ok(Begun::Mine(creation)) => Ok(held(Held::Creation { creation, shared: shared.clone(), key, into })),
        Err(error) => Err(error.to_string()),
    }
}

/// Gives back, after the child has ended; `value` is what a creation is to publish.
pub async fn give_back(
    held: Held,
    succeeded: bool,
    value: Option<Value>,
    reason: Option<&str>,
) -> Result<Map<String, Value>, String> {
    match held {
        Held::Creation { creation, shared, key, into } => match value.filter(|_| succeeded) {
            Some(value) => return publish(creation, &shared, &key, into.as_deref(), value).await,
            None => creation.fail(reason.unwrap_or("it could not be made")).await,
        },
        lease => release(lease).await,
    }
    Ok(Map::new())
}

async fn release(held: Held) {
    match held {
        Held::Lock(lease) => drop(lease.release().await),
        Held::Permit(permit) => drop(permit.release().await),
        Held::Element(element) => drop(element.give_back().await),
        // The next who waits takes over at once.
        Held::Creation { creation, .. } => drop(creation),
    }
}

async fn publish(
    creation: Creation<Value>,
    shared: &SharedData,
    key: &str,
    into: Option<&str>,
    value: Value,
) -> Result<Map<String, Value>, String> {
    match creation.publish(&value).await {
        Ok(true) => Ok(into_map(into, value)),
        // Too slow: another one has taken over, and everybody gets its value.
        Ok(false) => match shared.begin_create::<Value>(key, CreateOptions::default()).await {
            Ok(Begun::Ready(value)) => Ok(into_map(into, value)),
            Ok(Begun::Mine(creation)) => {
                let published = creation.publish(&value).await.map_err(|error| error.to_string())?;
                if published { Ok(into_map(into, value)) } else { Err(CreateError::Timeout.to_string()) }
            }
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Gives everything back at the end of a life, innermost first.
pub async fn release_all(held: Vec<(NodeId, Held)>) {
    for (_, held) in held.into_iter().rev() {
        release(held).await;
    }
}

/// Resolves when a lease is no longer ours; which one.
pub async fn lost(held: &[(NodeId, Held)]) -> NodeId {
    let waits = held.iter().map(|(node, held)| {
        Box::pin(async move {
            match held {
                Held::Lock(lease) => lease.lost().await,
                Held::Permit(permit) => permit.lost().await,
                Held::Element(element) => element.lost().await,
                // Whether it was too late is told when it is published.
                Held::Creation { .. } => std::future::pending().await,
            }
            *node
        })
    });
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    select_all(waits).await.0
}
